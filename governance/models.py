"""Tables of sign-off: who may change what, who decided, and who was told."""

from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import Account, Csm
from core.history import actor_channel, actor_id, actor_label, tracked
from core.money import Money
from core.work import Part
from governance.signoff import kinds
from segmentation.models import Layer, Segment, Simulation


def _person():
    """A column for somebody who appears in history: an id without a foreign key, and how they were called."""
    return models.IntegerField(null=True, blank=True), models.CharField(max_length=200, blank=True)


# -- who decides


class Profile(models.Model):
    """Which governance profile the organisation started from. One row; its policies may have been edited since."""

    class Name(models.TextChoices):
        LIGHT = "light", "Light"
        STANDARD = "standard", "Standard"
        STRICT = "strict", "Strict"

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    name = models.CharField(max_length=10, choices=Name, default=Name.STANDARD)
    history = tracked()

    class Meta:
        verbose_name = "governance profile"
        default_permissions = ["view"]
        constraints = [models.CheckConstraint(name="one_profile", condition=Q(id=1))]

    def __str__(self):
        return self.get_name_display()


class ApprovalPolicy(models.Model):
    """How many people of a role have to approve a kind of request, from a certain impact on.

    All rows that apply to a request count together; of one role the highest number. A row applies when the request
    reaches every threshold it names. `approvals` 0: asks for nobody, and says so.
    """

    kind = models.CharField("what is decided", max_length=20, choices=kinds.choices)
    role = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="approval_policies")
    approvals = models.PositiveSmallIntegerField("approvals needed", default=1)
    min_accounts = models.PositiveIntegerField("from this many accounts", null=True, blank=True)
    min_arr = models.DecimalField("from this ARR", max_digits=20, decimal_places=2, null=True, blank=True)
    min_csm_changes = models.PositiveIntegerField("from this many CSM changes", null=True, blank=True)
    top_tier = models.BooleanField("only when the top segment is touched", default=False)
    due_days = models.PositiveSmallIntegerField("to be decided within, days", default=5)
    expire_days = models.PositiveSmallIntegerField("expires after, days", default=30)
    history = tracked()

    class Meta:
        ordering = ["kind", "role", "id"]
        verbose_name = "approval policy"
        verbose_name_plural = "approval policies"
        default_permissions = ["view"]
        permissions = [("change_policies", "Can ask for changes of policies")]
        constraints = [
            models.CheckConstraint(
                name="policy_expires_after_due",
                condition=Q(expire_days__gte=F("due_days"), due_days__gte=1),
                violation_error_message="A request expires after it is due, not before.",
            ),
        ]

    def __str__(self):
        return f"{self.get_kind_display()}: {self.approvals} × {self.role}"


class CrossingPolicy(models.Model):
    """When an account that crosses a boundary of a gated layer is put before people, in one direction."""

    class Direction(models.TextChoices):
        UP = "up", "Up"
        DOWN = "down", "Down"

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="crossing_policies")
    direction = models.CharField(max_length=4, choices=Direction)
    hold_days = models.PositiveSmallIntegerField(
        "hold, days", default=0, help_text="The rules have to say so this many days in a row."
    )
    margin = models.DecimalField(
        max_digits=9,
        decimal_places=4,
        default=0,
        help_text="Overall score beyond the boundary by at least this.",
    )
    min_dwell_days = models.PositiveSmallIntegerField(
        "stays at least, days", default=0, help_text="In the current segment before it may leave it."
    )
    at_renewal = models.BooleanField(
        default=False, help_text="Flagged now, applies at the renewal date; on approval where there is none."
    )
    quiet_days = models.PositiveSmallIntegerField(
        "no hand-over within, days", default=0, help_text="Of a renewal, or of the last hand-over."
    )
    joint_days = models.PositiveSmallIntegerField("joint coverage, days", default=30)
    material_arr = models.DecimalField(
        "ARR change that counts as material", max_digits=6, decimal_places=4, default="0.2",
        help_text="As a share: 0.2 is 20 %. After a no, a new change is flagged only after a material one.",
    )  # fmt: skip
    material_score = models.DecimalField(
        "score change that counts as material", max_digits=6, decimal_places=4, default="0.5"
    )
    history = tracked()

    class Meta:
        ordering = ["layer", "-direction"]
        verbose_name = "tier change policy"
        verbose_name_plural = "tier change policies"
        default_permissions = ["view"]
        constraints = [models.UniqueConstraint(name="crossing_policy_once", fields=["layer", "direction"])]

    def __str__(self):
        return f"{self.layer}, {self.get_direction_display().lower()}"


class Delegation(models.Model):
    """Somebody decides for somebody who is away, from one day to another, both included."""

    absent = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="delegated")
    delegate = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="delegations"
    )
    from_date = models.DateField("from")
    until_date = models.DateField("until")
    reason = models.CharField(max_length=400, blank=True)
    history = tracked()

    class Meta:
        ordering = ["-until_date", "id"]
        verbose_name = "delegate"
        default_permissions = ["view", "add", "delete"]
        constraints = [
            models.CheckConstraint(
                name="delegation_of_another",
                condition=~Q(absent=F("delegate")),
                violation_error_message="Nobody stands in for themselves.",
            ),
            models.CheckConstraint(
                name="delegation_ends_after_start",
                condition=Q(until_date__gte=F("from_date")),
                violation_error_message="It ends on its first day or later.",
            ),
        ]

    def __str__(self):
        return f"{self.delegate} for {self.absent}"


# -- what is decided


class ApprovalRequestQuerySet(models.QuerySet):
    def open(self):
        return self.filter(status__in=ApprovalRequest.OPEN)

    def pending(self):
        return self.filter(status=ApprovalRequest.Status.PENDING)

    def naming(self, accounts):
        """Requests that name one of these accounts, as they are now."""
        named = RequestAccount.objects.filter(account__in=accounts, revision=F("request__revision"))
        return self.filter(pk__in=named.values("request"))

    def named_ever(self, accounts):
        """Requests of which some revision named one of these accounts."""
        return self.filter(pk__in=RequestAccount.objects.filter(account__in=accounts).values("request"))


class ApprovalRequest(models.Model):
    """Something that happens once enough people of the right roles have said yes to exactly this content.

    `content` is what will be carried out, in the form its kind defines (governance.signoff.kinds), `hash` its SHA-256,
    `revision` goes up with each edit and voids the decisions before it. `needed`: {name of role: approvals}.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting for approval"
        CHANGES_ASKED = "changes_asked", "Changes asked for"
        APPROVED = "approved", "Approved, to be carried out"
        APPLIED = "applied", "Approved and done"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Approved, but failed"

    OPEN = ["pending", "changes_asked", "approved", "failed"]

    kind = models.CharField(max_length=20, choices=kinds.choices)
    subject = models.CharField(max_length=400)
    key = models.CharField(max_length=200)  # what it is about: two open requests about the same are refused
    content = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    hash = models.CharField(max_length=64)
    revision = models.PositiveIntegerField(default=1)
    changes = models.JSONField(default=list)  # what changes, in sentences
    why = models.TextField()
    evidence = models.TextField(blank=True)
    requester, requester_label = _person()
    requested_at = models.DateTimeField(default=timezone.now)
    editors = ArrayField(
        models.IntegerField(), default=list
    )  # people (ids) who edited it after the requester
    owners = ArrayField(
        models.IntegerField(), default=list
    )  # people (ids) who look after the accounts as CSM
    accounts = models.PositiveIntegerField(default=0)
    arr = models.DecimalField("ARR", max_digits=20, decimal_places=2, default=0)
    csm_changes = models.PositiveIntegerField("CSM changes", default=0)
    top_tier = models.BooleanField("touches the top segment", default=False)
    other_currency = models.BooleanField(default=False)  # money is part of it that `arr` does not count
    simulation = models.ForeignKey(
        Simulation, null=True, blank=True, on_delete=models.PROTECT, related_name="requests"
    )
    measured = models.JSONField(default=list)  # what was counted, and when: impact.Impact.measured
    needed = models.JSONField(default=dict)
    status = models.CharField(max_length=15, choices=Status, default=Status.PENDING)
    due_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    escalated_at = models.DateTimeField(null=True)
    apply_on = models.DateField(null=True)  # not before this day
    failure = models.TextField(blank=True)
    ended_at = models.DateTimeField(null=True)
    ended_by, ended_by_label = _person()
    end_reason = models.TextField(blank=True)
    cause = models.BigIntegerField(
        null=True, editable=False
    )  # of the transaction that carried it out; a trigger says it
    objects = ApprovalRequestQuerySet.as_manager()
    history = tracked(excluded_fields=["cause"])

    class Meta:
        ordering = ["-id"]
        verbose_name = "approval request"
        default_permissions = ["view"]
        permissions = [("decide_request", "Can decide approval requests")]
        constraints = [
            models.UniqueConstraint(
                name="one_open_request",
                fields=["kind", "key"],
                condition=Q(status__in=["pending", "changes_asked", "approved", "failed"]),
                violation_error_message="There is an open request about this already.",
            ),
            models.CheckConstraint(name="request_says_why", condition=~Q(why="")),
        ]
        indexes = [
            models.Index(
                name="request_open", fields=["due_at"],
                condition=Q(status__in=["pending", "changes_asked", "approved", "failed"]),
            ),
            models.Index(name="request_of_cause", fields=["cause"], condition=Q(cause__isnull=False)),
        ]  # fmt: skip

    def __str__(self):
        return self.subject

    @property
    def money(self):
        """The ARR it reaches, as Money: the highest that was counted of each currency since it was asked for or edited."""
        highest = {}
        for entry in self.measured:
            highest = {} if entry["when"] in ("asked", "edited") else highest
            for code, amount in entry.get("others", {}).items():
                highest[code] = max(highest.get(code, Decimal(0)), Decimal(amount))
        return Money.of([("", self.arr), *highest.items()])

    @property
    def is_open(self):
        return self.status in self.OPEN

    def account_ids(self):
        """Ids of the accounts it names, as it is now."""
        return sorted(row.account_id for row in self.named.all() if row.revision == self.revision)


class RequestAccount(models.Model):
    """An account that a revision of a request names. The database writes it, of what the content says; append-only."""

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.PROTECT, related_name="named", db_index=False
    )
    revision = models.PositiveIntegerField()
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="requests")

    class Meta:
        ordering = ["id"]
        default_permissions = []
        constraints = [
            models.UniqueConstraint(name="account_named_once", fields=["request", "revision", "account"])
        ]

    def __str__(self):
        return f"{self.account} in {self.request}"


class Decision(models.Model):
    """The word of one person about one revision of a request. Append-only.

    `role`: the role the person decided in. `on_behalf_of`: the absent person they stood in for.
    """

    class Verdict(models.TextChoices):
        APPROVE = "approve", "Approved"
        ASK = "ask", "Asked for changes"
        REJECT = "reject", "Rejected"

    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=10, choices=Verdict)
    role = models.CharField(max_length=150)
    by = models.IntegerField()
    by_label = models.CharField(max_length=200)
    on_behalf_of, on_behalf_of_label = _person()
    hash = models.CharField(max_length=64)
    revision = models.PositiveIntegerField()
    reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        default_permissions = []
        constraints = [
            models.UniqueConstraint(name="decided_once", fields=["request", "revision", "by"]),
            models.UniqueConstraint(
                "request", "revision", Coalesce("on_behalf_of", "by"), name="counted_once"
            ),
            models.CheckConstraint(name="no_needs_a_reason", condition=Q(verdict="approve") | ~Q(reason="")),
        ]

    def __str__(self):
        return f"{self.get_verdict_display()} by {self.by_label}"


class CountedApproval(models.Model):
    """An approval that counts as things are now: whose it is, and in which role. A view of the database."""

    request = models.ForeignKey(ApprovalRequest, on_delete=models.DO_NOTHING, related_name="+")
    role = models.CharField(max_length=150)
    person = models.IntegerField()  # who decided, or whom they stood in for

    class Meta:
        managed = False
        db_table = "governance_countedapproval"
        default_permissions = []

    def __str__(self):
        return f"{self.role}: {self.person}"


class Comment(models.Model):
    """Something said about a request. Append-only."""

    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="comments")
    text = models.TextField()
    by, by_label = _person()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        default_permissions = []

    def __str__(self):
        return self.text


# -- overrides


class OverrideQuerySet(models.QuerySet):
    def active(self):
        return self.filter(status=Override.Status.ACTIVE)

    def requested(self):
        return self.filter(status=Override.Status.REQUESTED)


class Override(models.Model):
    """A segment people pin for an account against the rules, with reason, evidence and an end."""

    class Status(models.TextChoices):
        REQUESTED = "requested", "Requested"
        ACTIVE = "active", "In force"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        EXPIRED = "expired", "Expired"
        ENDED = "ended", "Ended early"
        REPLACED = "replaced", "Replaced"

    class Reason(models.TextChoices):
        ACQUISITION = "acquisition", "Acquisition or merger"
        STRATEGIC = "strategic", "Strategic importance"
        DATA_ERROR = "data_error", "The data are wrong"
        CONTRACTUAL = "contractual", "The contract says so"
        EXECUTIVE = "executive", "Executive decision"
        OTHER = "other", "Other"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="overrides")
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="overrides")
    segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="overrides")
    from_segment = models.ForeignKey(Segment, null=True, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=10, choices=Status, default=Status.REQUESTED)
    reason_code = models.CharField("reason", max_length=15, choices=Reason)
    text = models.TextField("explanation")
    evidence = models.TextField(blank=True)
    # Asked after an acquisition: who buys now, what for, under which contract.
    buying_centre = models.TextField("Who decides about buying now?", blank=True)
    use_case = models.TextField("What will they use it for?", blank=True)
    contract = models.TextField("Which contract holds, until when?", blank=True)
    expires_on = models.DateField("until")
    request = models.ForeignKey(
        ApprovalRequest, null=True, on_delete=models.PROTECT, related_name="overrides"
    )
    requested_by, requested_by_label = _person()
    requested_at = models.DateTimeField(default=timezone.now)
    started_on = models.DateField(null=True)
    disagrees_since = models.DateField(null=True)  # since when the rules have said another segment
    reminded_at = models.DateTimeField(null=True)
    ended_on = models.DateField(null=True)
    ended_by, ended_by_label = _person()
    end_reason = models.TextField(blank=True)
    objects = OverrideQuerySet.as_manager()
    history = tracked()

    class Meta:
        ordering = ["-id"]
        default_permissions = ["view"]
        permissions = [("request_override", "Can ask for overrides")]
        constraints = [
            models.UniqueConstraint(
                name="one_requested_override", fields=["account", "layer"], condition=Q(status="requested"),
                violation_error_message="An override of this account is waiting for approval already.",
            ),
            models.UniqueConstraint(
                name="one_active_override", fields=["account", "layer"], condition=Q(status="active")
            ),
            models.CheckConstraint(name="override_says_why", condition=~Q(text="")),
            models.CheckConstraint(
                name="override_of_an_acquisition_answers",
                condition=~Q(reason_code="acquisition")
                | (~Q(buying_centre="") & ~Q(use_case="") & ~Q(contract="")),
                violation_error_message="After an acquisition, answer the three questions.",
            ),
        ]  # fmt: skip
        indexes = [models.Index(name="override_of_account", fields=["account", "layer", "-id"])]

    def __str__(self):
        return f"{self.account}: {self.segment} until {self.expires_on}"


# -- tier changes


class TransitionQuerySet(models.QuerySet):
    def open(self):
        return self.filter(status__in=Transition.OPEN)


class Transition(models.Model):
    """A crossing on a gated layer, from the moment the rules say so until it is carried out or decided against.

    Held: `held_for` says what it waits for, `held_until` until when. The plan's columns are filled while it is planned.
    """

    class Status(models.TextChoices):
        FLAGGED = "flagged", "Flagged"
        PLANNED = "planned", "Planned"
        AWAITING = "awaiting", "Awaiting approval"
        JOINT = "joint", "Joint coverage"
        DONE = "done", "Done"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        CLOSED = "closed", "Came back"
        KEPT = "kept", "Kept"

    OPEN = ["flagged", "planned", "awaiting", "joint"]

    class Origin(models.TextChoices):
        RULES = "rules", "The rules say so"
        OVERRIDE = "override", "An override asks for it"
        PROVISIONAL = "provisional", "After the provisional period"
        EXPIRY = "expiry", "An override has ended"

    class Hold(models.TextChoices):
        NOTHING = "", "–"
        DAYS = "days", "The rules have not said so long enough"
        MARGIN = "margin", "Too close to the boundary"
        DWELL = "dwell", "Not long enough in its segment"
        QUIET_RENEWAL = "quiet_renewal", "Too close to the renewal"
        QUIET_HANDOVER = "quiet_handover", "Too soon after the last hand-over"
        OVERRIDE = "override", "An override is waiting for approval"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="transitions")
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="transitions", db_index=False)
    from_segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="+", db_index=False)
    to_segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="+", db_index=False)
    direction = models.CharField(max_length=4, choices=CrossingPolicy.Direction)
    status = models.CharField(max_length=10, choices=Status, default=Status.FLAGGED)
    origin = models.CharField(max_length=12, choices=Origin, default=Origin.RULES)
    override = models.ForeignKey(
        Override, null=True, blank=True, on_delete=models.PROTECT, related_name="transitions"
    )
    request = models.ForeignKey(
        ApprovalRequest, null=True, blank=True, on_delete=models.PROTECT, related_name="transitions"
    )
    why = models.CharField(max_length=12, blank=True)  # data or definition, as Move.why
    run = models.BigIntegerField(null=True)  # the recalculation that saw it last
    crossed_on = models.DateField()  # since when the rules have said so
    flagged_at = models.DateTimeField(default=timezone.now)
    evidence = models.JSONField(default=dict)  # {"composite": text, "was": {...}}: what it was flagged on
    arr = models.DecimalField("ARR", max_digits=20, decimal_places=2, null=True)  # when flagged
    composite = models.DecimalField(max_digits=24, decimal_places=12, null=True)  # when flagged
    held_for = models.CharField(max_length=15, choices=Hold, default=Hold.NOTHING, blank=True)
    held_until = models.DateField(null=True)
    applies_on = models.DateField(null=True)  # at renewal: not before
    kept_until = models.DateField(null=True)
    # -- the plan
    giver = models.ForeignKey(Csm, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    receiver = models.ForeignKey(
        Csm, null=True, blank=True, on_delete=models.PROTECT, related_name="receiving"
    )
    joint_days = models.PositiveSmallIntegerField("joint coverage, days", default=30)
    success_plan = models.TextField(blank=True)
    notice = models.TextField("what the customer is told", blank=True)
    notice_on = models.DateField("customer to be told on", null=True, blank=True)
    notice_by = models.CharField("told by", max_length=200, blank=True)
    noticed_on = models.DateField("customer told on", null=True, blank=True)
    checklist = models.JSONField(default=list)  # [{"text", "done": bool, "by", "on"}]
    notes = models.TextField(blank=True)
    planned_by, planned_by_label = _person()
    planned_at = models.DateTimeField(null=True)
    # -- carried out
    joint_from = models.DateField(null=True)
    joint_until = models.DateField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by, ended_by_label = _person()
    end_reason = models.TextField(blank=True)
    edited_at = models.DateTimeField(auto_now=True)
    objects = TransitionQuerySet.as_manager()
    history = tracked()

    class Meta:
        ordering = ["-id"]
        verbose_name = "tier change"
        default_permissions = ["view"]
        permissions = [
            ("plan_transition", "Can triage and plan tier changes"),
            ("complete_transition", "Can complete tier changes"),
        ]
        constraints = [
            models.UniqueConstraint(
                name="one_open_transition",
                fields=["account", "layer"],
                condition=Q(status__in=["flagged", "planned", "awaiting", "joint"]),
                violation_error_message="A tier change of this account is open already.",
            ),
            models.CheckConstraint(name="transition_moves", condition=~Q(from_segment=F("to_segment"))),
            models.CheckConstraint(
                name="transition_ended",
                condition=Q(status__in=["flagged", "planned", "awaiting", "joint"], ended_at=None)
                | Q(status__in=["done", "rejected", "withdrawn", "closed", "kept"], ended_at__isnull=False),
            ),
            models.CheckConstraint(
                name="joint_coverage_has_dates",
                condition=~Q(status__in=["joint", "done"])
                | Q(joint_from__isnull=False, joint_until__isnull=False),
            ),
            models.CheckConstraint(
                name="transition_no_has_a_reason",
                condition=~Q(status__in=["rejected", "kept", "withdrawn"]) | ~Q(end_reason=""),
            ),
        ]
        indexes = [
            models.Index(name="transition_of_account", fields=["account", "layer", "-id"]),
            models.Index(
                name="transition_open", fields=["layer", "status"],
                condition=Q(status__in=["flagged", "planned", "awaiting", "joint"]),
            ),
        ]  # fmt: skip

    def __str__(self):
        return f"{self.account}: {self.from_segment} → {self.to_segment}"

    @property
    def is_open(self):
        return self.status in self.OPEN


class FollowedRun(models.Model):
    """A recalculation whose computed changes governance has looked at: crossings, overrides, alerts."""

    run = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_default=Func(function="transaction_timestamp"))
    counts = models.JSONField(default=dict)

    class Meta:
        default_permissions = []

    def __str__(self):
        return f"Recalculation {self.run}"


# -- alerts


class AlertRule(models.Model):
    """When people are alerted about an account: a condition over facts, scores and labels of any segmentation."""

    class Audience(models.TextChoices):
        CSM = "csm", "The account's CSM"
        CS_OPS = "cs_ops", "CS Ops"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    condition = models.TextField()
    days = models.PositiveSmallIntegerField(
        "change since, days",
        null=True,
        blank=True,
        help_text="What `before.` in the condition looks back to.",
    )
    audience = models.CharField(max_length=10, choices=Audience, default=Audience.CSM)
    urgent = models.BooleanField("tell at once", default=False)
    active = models.BooleanField(default=True)
    evaluated_at = models.DateTimeField(null=True, editable=False)  # null: its first evaluation tells nobody
    error = models.TextField(blank=True, editable=False)
    history = tracked(excluded_fields=["evaluated_at", "error"])

    class Meta:
        ordering = ["name", "key"]
        verbose_name = "alert rule"

    def __str__(self):
        return self.name


class Alert(models.Model):
    """An account on which an alert rule holds. One that is not resolved per rule and account."""

    class Status(models.TextChoices):
        OPEN = "open", "Open"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        RESOLVED = "resolved", "Resolved"

    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="alerts")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="alerts")
    status = models.CharField(max_length=12, choices=Status, default=Status.OPEN)
    silent = models.BooleanField(default=False)  # found by the rule's first evaluation: nobody was told
    opened_on = models.DateField()
    evidence = models.JSONField(default=dict)  # {term: value as text}
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by, acknowledged_by_label = _person()
    note = models.TextField(blank=True)
    resolved_on = models.DateField(null=True)
    history = tracked()

    class Meta:
        ordering = ["-id"]
        default_permissions = ["view"]
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]
        constraints = [
            models.UniqueConstraint(
                name="one_unresolved_alert",
                fields=["rule", "account"],
                condition=Q(status__in=["open", "acknowledged"]),
            ),
        ]
        indexes = [models.Index(name="alert_of_account", fields=["account", "-id"])]

    def __str__(self):
        return f"{self.rule}: {self.account}"


# -- what happened, and who was told


class Event(models.Model):
    """Something that happened, written in the transaction that did it. Append-only.

    `kind` is one of governance.events.KINDS. Moves of assignments become events by a trigger.
    """

    kind = models.CharField(max_length=40)
    at = models.DateTimeField(db_default=Func(function="transaction_timestamp"))
    account = models.ForeignKey(
        Account,
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="events",
        db_constraint=False,
        db_index=False,
    )
    layer = models.ForeignKey(
        Layer, null=True, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    about = models.CharField(max_length=30, blank=True)  # request, transition, override, alert, move, ...
    about_id = models.BigIntegerField(null=True)
    text = models.TextField(blank=True)  # what happened, a sentence; events of moves are told from their move
    reason = models.TextField(blank=True)
    data = models.JSONField(default=dict)
    actor = models.IntegerField(null=True, default=actor_id)
    actor_label = models.CharField(max_length=200, default=actor_label)
    channel = models.CharField(max_length=20, default=actor_channel)

    class Meta:
        ordering = ["-id"]
        default_permissions = []
        permissions = [("view_audit", "Can see and export the audit trail")]
        indexes = [
            models.Index(name="event_of_account", fields=["account", "-id"]),
            models.Index(name="event_about", fields=["about", "about_id"]),
            models.Index(name="event_at", fields=["at"]),
            models.Index(name="event_told", fields=["at", "id"], condition=~Q(kind="move")),
        ]

    def __str__(self):
        return self.text or self.kind


class Outbox(Part):
    """An event of which nobody has been told yet; a trigger writes it with the event."""

    event = models.OneToOneField(
        Event, primary_key=True, on_delete=models.DO_NOTHING, related_name="outbox", db_constraint=False
    )

    class Meta:
        default_permissions = []

    def __str__(self):
        return str(self.event_id)


class Mail(Part):
    """An e-mail to a person: what it tells are its lines (Notification). All that are due to an address go out as one."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mails")
    to = models.CharField(max_length=254, blank=True)  # blank: the address the person has by then
    urgent = models.BooleanField(
        default=False
    )  # something in it waits for them: sent before all that does not

    class Meta:
        default_permissions = []
        indexes = [
            models.Index(name="mail_open", fields=["due"], condition=~Q(status__in=["done", "failed"]))
        ]

    def __str__(self):
        return f"E-mail to {self.to or self.user}"


class NotificationQuerySet(models.QuerySet):
    def unread(self):
        return self.filter(read_at=None)


class Notification(models.Model):
    """That one person is told of one event, in the application and by mail; or of many alike, in one line.

    `group` tells which are alike (one recalculation, one segmentation): the row is about `count` events, the first of
    them `event`; up to notifications.LISTED of them are in `events`. `mail`: null where it is not to be mailed.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="notifications")
    group = models.CharField(max_length=120, blank=True)
    count = models.PositiveIntegerField(default=1)
    events = ArrayField(models.BigIntegerField(), default=list)
    text = models.TextField()
    why = models.CharField(max_length=200)  # why this person: "You look after Acme."
    link = models.CharField(max_length=400)
    urgent = models.BooleanField(default=False)  # mailed at once, else with the day's digest
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True)
    mail = models.ForeignKey(Mail, null=True, on_delete=models.SET_NULL, related_name="lines")
    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = []
        constraints = [
            models.UniqueConstraint(name="told_once", fields=["user", "event"]),
            models.UniqueConstraint(
                name="told_in_one_line", fields=["user", "group"], condition=~Q(group="")
            ),
        ]
        indexes = [
            models.Index(name="notification_of", fields=["user", "-id"]),
            models.Index(name="notification_unread", fields=["user"], condition=Q(read_at=None)),
        ]

    def __str__(self):
        return self.text


class Preference(models.Model):
    """How one person wants to be told."""

    class Mail(models.TextChoices):
        DIGEST = "digest", "What waits for me at once, the rest once a day"
        AT_ONCE = "at_once", "Everything at once"
        NONE = "none", "No e-mail"

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="preference", primary_key=True
    )
    mail = models.CharField("e-mail", max_length=10, choices=Mail, default=Mail.DIGEST)

    class Meta:
        default_permissions = []

    def __str__(self):
        return str(self.user)


class Chore(Part):
    """One step of a day's work (governance.tasks.DAILY): done once a day, however many schedulers ask for it."""

    day = models.DateField()
    step = models.CharField(max_length=60)

    class Meta:
        ordering = ["-day", "id"]
        verbose_name = "daily step"
        default_permissions = []
        constraints = [models.UniqueConstraint(name="chore_once", fields=["day", "step"])]

    def __str__(self):
        return f"{self.step}, {self.day}"
