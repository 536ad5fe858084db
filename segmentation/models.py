"""Tables of the rules: what they say (computed) and what is in force (effective)."""

from functools import reduce
from operator import or_

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils import timezone

from accounts.models import Account, Product
from core.history import actor_channel, actor_id, actor_label, tracked
from core.models import XactId
from core.work import Job, RangePart
from segmentation import scopes, treatments


class ServiceModel(models.Model):
    """How customer success engages: High-Touch, Low-Touch, Tech-Touch or the team's own."""

    class CsmKind(models.TextChoices):
        DEDICATED = "dedicated", "Dedicated CSM"
        POOL = "pool", "Pooled CSM"
        NONE = "none", "No CSM"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    accounts_per_csm_min = models.PositiveIntegerField("accounts per CSM, from", null=True, blank=True)
    accounts_per_csm_max = models.PositiveIntegerField("accounts per CSM, to", null=True, blank=True)
    csm_kind = models.CharField("CSM", max_length=10, choices=CsmKind, default=CsmKind.POOL)
    check_in = models.CharField("check-ins", max_length=200, blank=True)
    qbr = models.CharField("business reviews", max_length=200, blank=True)
    onboarding = models.CharField(max_length=200, blank=True)
    channels = models.CharField(max_length=200, blank=True)
    cost_to_serve = models.DecimalField(
        "cost to serve, per account and year", max_digits=20, decimal_places=2, null=True, blank=True
    )  # in the organisation's currency
    staff = models.DecimalField("CSMs there are", max_digits=7, decimal_places=1, null=True, blank=True)
    description = models.TextField(blank=True)
    history = tracked()

    class Meta:
        ordering = ["accounts_per_csm_min", "name", "key"]
        constraints = [
            models.CheckConstraint(
                name="service_model_band",
                # Each part is true where a number is not known: a check that comes to NULL holds.
                condition=(Q(accounts_per_csm_min=None) | Q(accounts_per_csm_min__gte=1))
                & (Q(accounts_per_csm_max=None) | Q(accounts_per_csm_max__gte=1))
                & (
                    Q(accounts_per_csm_min=None)
                    | Q(accounts_per_csm_max=None)
                    | Q(accounts_per_csm_max__gte=F("accounts_per_csm_min"))
                ),
                violation_error_message="Accounts per CSM go from 1 or more to at least as many.",
            ),
            models.CheckConstraint(
                name="service_model_cost_and_staff_not_negative",
                condition=(Q(cost_to_serve=None) | Q(cost_to_serve__gte=0))
                & (Q(staff=None) | Q(staff__gte=0)),
                violation_error_message="Neither the cost nor the number of CSMs is negative.",
            ),
        ]

    def __str__(self):
        return self.name

    @property
    def band(self):
        """Accounts per CSM: 15 to 50; 200 and more; up to 50; –."""
        low, high = self.accounts_per_csm_min, self.accounts_per_csm_max
        if low is None:
            return "–" if high is None else f"up to {high:,}"
        return f"{low:,} and more" if high is None else f"{low:,} to {high:,}"


def _text_column(name):
    """The column of one field of treatments.FIELDS."""
    field = treatments.FIELDS[name]
    if field.long:
        return models.TextField(field.column, blank=True)
    return models.CharField(field.column, max_length=200, blank=True)


class Treatment(models.Model):
    """How we serve: what a segment gets."""

    key = models.SlugField(unique=True, max_length=100)
    name = models.CharField(max_length=200)
    service_model = models.ForeignKey(ServiceModel, null=True, blank=True, on_delete=models.PROTECT)
    touch_frequency = _text_column("touch_frequency")
    communication_cadence = _text_column("communication_cadence")
    channel = _text_column("channel")
    support_sla = _text_column("support_sla")
    owner_role = _text_column("owner_role")
    success_plan_template = _text_column("success_plan_template")
    renewal_motion = _text_column("renewal_motion")
    renewal_lead_days = models.PositiveIntegerField("renewal starts, days before", null=True, blank=True)
    expansion_play = _text_column("expansion_play")
    discount_discipline = _text_column("discount_discipline")
    message = _text_column("message")
    offer = _text_column("offer")
    play_on_entry = _text_column("play_on_entry")
    play_on_exit = _text_column("play_on_exit")
    cs_engagement = _text_column("cs_engagement")
    marketing_approach = _text_column("marketing_approach")
    sales_model = _text_column("sales_model")
    product_priority = _text_column("product_priority")
    success_metrics = _text_column("success_metrics")
    notes = models.TextField(blank=True)
    history = tracked()

    class Meta:
        ordering = ["name", "key"]
        verbose_name = "treatment"

    def __str__(self):
        return self.name


def _scope(may):
    """A condition on a layer: its scope is one that may."""
    return reduce(or_, (Q(scope=scope.key) for scope in scopes.SCOPES.values() if may(scope)))


class Layer(models.Model):
    """One way of segmenting. An account has one label per active layer."""

    class Policy(models.TextChoices):
        AUTOMATIC = "automatic", "Applies by itself"
        APPROVAL = "approval", "Needs approval"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    scope = models.CharField(
        max_length=10,
        choices=scopes.CHOICES,
        default=scopes.ACCOUNT.key,
        help_text="What gets a label: an account, or each product an account has (adoption tags).",
    )
    policy = models.CharField(max_length=10, choices=Policy, default=Policy.AUTOMATIC)
    primary = models.BooleanField(
        default=False, help_text="Exactly one segmentation is the primary one and drives coverage."
    )
    plan_provisional_downgrades = models.BooleanField(
        "a provisional account that goes down needs a plan",
        default=False,
        help_text="Else the decision after the provisional period applies at once, up and down.",
    )
    position = models.PositiveIntegerField(default=0)
    # Fields its segments' treatments say and others do not, as names of treatments.FIELDS.
    decides = ArrayField(
        models.CharField(max_length=40, choices=treatments.CHOICES), default=list, blank=True
    )
    history = tracked()

    class Meta:
        ordering = ["position", "key"]
        verbose_name = "segmentation"
        constraints = [
            models.UniqueConstraint(
                name="one_primary_layer",
                fields=["primary"],
                condition=Q(primary=True),
                violation_error_message="Another segmentation is the primary one.",
            ),
            models.CheckConstraint(
                name="primary_is_of_accounts",
                condition=Q(primary=False) | _scope(lambda scope: scope.may_be_primary),
                violation_error_message="The primary segmentation is one of accounts.",
            ),
            models.CheckConstraint(
                name="approval_is_of_accounts",
                condition=Q(policy="automatic") | _scope(lambda scope: scope.may_need_approval),
                violation_error_message="A segmentation of products applies by itself.",
            ),
            models.CheckConstraint(
                name="layer_decides_treatment_fields",
                condition=Q(decides__contained_by=list(treatments.FIELDS)),
                violation_error_message="A segmentation decides fields of a treatment.",
            ),
            models.CheckConstraint(
                name="only_primary_decides_service",
                condition=Q(primary=True) | ~Q(decides__overlap=treatments.PRIMARY),
                violation_error_message="Only the primary segmentation decides the service model: it drives coverage.",
            ),
        ]
        permissions = [("recompute_layer", "Can start a recalculation")]

    def __str__(self):
        return self.name

    @property
    def scoped(self):
        """Its Scope."""
        return scopes.SCOPES[self.scope]

    def clean(self):
        """Check what the constraints hold too; a form that shows `primary` without asking for it leaves them out.

        Labels of accounts mean nothing on products, and the other way round.
        """
        if not self.primary and set(treatments.PRIMARY) & set(self.decides or ()):
            [message] = [
                constraint.violation_error_message
                for constraint in self._meta.constraints
                if constraint.name == "only_primary_decides_service"
            ]
            raise ValidationError({"decides": message})
        before = Layer.objects.filter(pk=self.pk).exclude(scope=self.scope).first() if self.pk else None
        if before and self.assignments.exists():
            raise ValidationError(
                {
                    "scope": f"{self.name} has labelled {before.scoped.units} already, so that stays. For the other, add a segmentation."
                }
            )


class Segment(models.Model):
    """One label of a layer: a group, and what is done differently for it."""

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="segments")
    key = models.SlugField()
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    position = models.PositiveIntegerField(default=0)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    owner_role = models.CharField(max_length=100, blank=True)
    treatment = models.ForeignKey(
        Treatment, null=True, blank=True, on_delete=models.PROTECT, related_name="segments"
    )
    history = tracked()

    class Meta:
        ordering = ["layer", "position", "key"]
        constraints = [models.UniqueConstraint(name="segment_key_once", fields=["layer", "key"])]

    def __str__(self):
        return self.name

    def clean(self):
        """A parent is of the same segmentation or of another one, of the same things, and not part of this segment."""
        if self.parent is None or self.layer_id is None:
            return
        if self.parent.layer.scope != self.layer.scope:
            ours, theirs = self.layer.scoped.units, self.parent.layer.scoped.units
            message = f"{self.parent} is of {theirs}, {self.layer} of {ours}."
            raise ValidationError({"parent": message})
        way = [self, self.parent]
        while way[-1].parent_id and way[-1] not in way[:-1]:
            way.append(way[-1].parent)
        if way[-1] == self:
            path = " › ".join(segment.name for segment in reversed(way))
            raise ValidationError({"parent": f"{self} would be part of itself: {path}."})


class Definition(models.Model):
    """One version of a layer's rules: a document. Any but a draft never changes (a trigger)."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        IN_REVIEW = "in_review", "In review"
        ACTIVE = "active", "Active"
        RETIRED = "retired", "Retired"
        REJECTED = "rejected", "Rejected"

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="definitions")
    version = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    document = models.JSONField(default=dict)
    hash = models.CharField(max_length=64, blank=True)
    reason = models.TextField(
        blank=True
    )  # of its last step: submitted, returned, rejected or activated because
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.IntegerField(null=True, default=actor_id)
    created_by_label = models.CharField(max_length=200, default=actor_label)
    edited_at = models.DateTimeField(auto_now=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    submitted_by = models.IntegerField(null=True, blank=True)
    submitted_by_label = models.CharField(max_length=200, blank=True)
    rejected_at = models.DateTimeField(null=True, blank=True)
    rejected_by = models.IntegerField(null=True, blank=True)
    rejected_by_label = models.CharField(max_length=200, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    activated_by = models.IntegerField(null=True, blank=True)
    activated_by_label = models.CharField(max_length=200, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    history = tracked(excluded_fields=["document"])

    class Meta:
        ordering = ["layer", "-version"]
        verbose_name = "rules version"
        constraints = [
            models.UniqueConstraint(name="definition_version_once", fields=["layer", "version"]),
            models.UniqueConstraint(
                name="one_active_definition", fields=["layer"], condition=Q(status="active")
            ),
            models.UniqueConstraint(
                name="one_open_definition", fields=["layer"], condition=Q(status__in=["draft", "in_review"])
            ),
        ]
        permissions = [("activate_definition", "Can activate rules")]

    def __str__(self):
        return f"{self.layer} rules, version {self.version}"


class Acknowledgement(models.Model):
    """A warning of the checks that somebody answers for: these rules are used all the same, and why.

    `check_id` and `about` say which (see segmentation.authoring.checks); `sentence` is what it said then. Fixed once the rules are
    decided about (a trigger).
    """

    definition = models.ForeignKey(Definition, on_delete=models.CASCADE, related_name="acknowledgements")
    check_id = models.CharField(max_length=50)
    about = models.CharField(max_length=400, blank=True)
    sentence = models.TextField()
    reason = models.TextField()
    at = models.DateTimeField(auto_now=True)
    by = models.IntegerField(null=True, default=actor_id)
    by_label = models.CharField(max_length=200, default=actor_label)
    history = tracked()

    class Meta:
        ordering = ["id"]
        default_permissions = []
        verbose_name = "acknowledged warning"
        constraints = [
            models.UniqueConstraint(name="acknowledged_once", fields=["definition", "check_id", "about"]),
            models.CheckConstraint(
                name="acknowledged_with_reason",
                condition=~Q(reason=""),
                violation_error_message="Say why these rules are used all the same.",
            ),
        ]

    def __str__(self):
        return self.sentence


class Cause(models.Model):
    """Why a transaction may write governed columns: what it is and who is behind it. One per transaction."""

    class Kind(models.TextChoices):
        SETUP = "set-up", "Set-up"
        RUN = "run", "Recalculation"
        DECISION = "decision", "Decision"
        IMPORT = "import", "Import"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind)
    actor = models.IntegerField(null=True, default=actor_id)
    actor_label = models.CharField(max_length=200, default=actor_label)
    channel = models.CharField(max_length=20, default=actor_channel)
    reason = models.TextField(blank=True)
    run = models.BigIntegerField(null=True, db_index=True)
    xid = XactId(db_default=Func(function="pg_current_xact_id"), editable=False)
    at = models.DateTimeField(db_default=Func(function="transaction_timestamp"), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_cause_per_transaction", fields=["xid", "at"])]

    def __str__(self):
        return f"{self.get_kind_display()} by {self.actor_label}"


class Run(Job):
    """One recalculation: its trigger, rules, clock, counts and errors."""

    class Trigger(models.TextChoices):
        MANUAL = "manual", "By hand"
        SCHEDULE = "schedule", "Schedule"
        IMPORT = "import", "Import"
        ACTIVATION = "activation", "Rules activated"

    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.MANUAL)
    as_of = models.DateField()
    started_by = models.IntegerField(null=True, default=actor_id)
    started_by_label = models.CharField(max_length=200, default=actor_label)
    channel = models.CharField(max_length=20, default=actor_channel)
    reason = models.TextField(blank=True)
    accounts = models.BigIntegerField(default=0)  # to evaluate, counted at the start

    class Meta:
        ordering = ["-id"]
        verbose_name = "recalculation"

    def __str__(self):
        return f"Recalculation {self.pk}"


class RunLayer(models.Model):
    """A layer within a run: the rules it was pinned to and what came out. One running per layer."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="layers")
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="runs")
    definition = models.ForeignKey(Definition, on_delete=models.PROTECT)
    running = models.BooleanField(default=True)
    left_out = models.JSONField(default=list)  # keys of dimensions for which no account has a fact
    # Measured on the whole portfolio before the first account is evaluated; null until then. As Document.population.
    cutoffs = models.JSONField(null=True)
    counts = models.JSONField(default=dict)  # summed over the parts when the run ends
    warnings = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="run_layer_once", fields=["run", "layer"]),
            models.UniqueConstraint(
                name="one_running_per_layer",
                fields=["layer"],
                condition=Q(running=True),
                violation_error_message="A recalculation of this segmentation is running.",
            ),
        ]

    def __str__(self):
        return f"{self.run}: {self.layer}"


class RunPart(RangePart):
    """A range of accounts of a run; its result is {layer key: {"scanned", "changed", "moved", ...}}."""

    job = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="parts")

    class Meta:
        default_permissions = []
        constraints = [models.UniqueConstraint(name="run_part_once", fields=["job", "first"])]

    def __str__(self):
        return f"{self.job}: accounts {self.first} to {self.last}"


class Simulation(Job):
    """An impact preview: what a version of the rules, as it said then, would change on the accounts as of a date.

    It belongs to what it was made of, not to the version's row: a draft is edited and discarded. Its subject never
    changes, and a frozen one is kept as it is (triggers).
    """

    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="simulations")
    definition = models.ForeignKey(
        Definition, null=True, on_delete=models.DO_NOTHING, related_name="simulations", db_constraint=False
    )
    version = models.PositiveIntegerField(null=True)  # none: rules of a file
    document = models.JSONField()
    hash = models.CharField(max_length=64)  # of the document in its canonical form, as it would be activated
    as_of = models.DateField()
    accounts = models.BigIntegerField(default=0)  # to evaluate, counted at the start
    left_out = models.JSONField(default=list)  # as of a RunLayer
    cutoffs = models.JSONField(null=True)
    warnings = models.JSONField(default=list)
    result = models.JSONField(default=dict)  # see impact.result
    started_by = models.IntegerField(null=True, default=actor_id)
    started_by_label = models.CharField(max_length=200, default=actor_label)
    frozen_at = models.DateTimeField(null=True)
    frozen_by = models.IntegerField(null=True)
    frozen_by_label = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "impact preview"
        default_permissions = ["view"]
        permissions = [("preview_rules", "Can preview the impact of rules")]
        constraints = [
            models.CheckConstraint(
                name="frozen_when_finished",
                condition=Q(frozen_at=None, note="") | Q(frozen_at__isnull=False, status="finished"),
                violation_error_message="Only an impact preview that has ended well can be frozen.",
            ),
        ]

    def __str__(self):
        return f"Impact preview {self.pk}"


class SimulationPart(RangePart):
    """A range of accounts of an impact preview; its result is as impact.Figures.

    Accounts whose segment would change are kept as arrays side by side: a million of them are forty rows. `rules_from` and
    `rules_to` are the segments by the rules in use and by these, where these change it; else both are nothing.
    """

    job = models.ForeignKey(Simulation, on_delete=models.CASCADE, related_name="parts")
    movers = ArrayField(models.BigIntegerField(), default=list)  # ids of accounts
    products = ArrayField(models.BigIntegerField(null=True), default=list)
    from_segments = ArrayField(models.BigIntegerField(null=True), default=list)
    to_segments = ArrayField(models.BigIntegerField(null=True), default=list)
    rules_from = ArrayField(models.BigIntegerField(null=True), default=list)
    rules_to = ArrayField(models.BigIntegerField(null=True), default=list)
    arr = ArrayField(models.DecimalField(max_digits=20, decimal_places=2, null=True), default=list)

    class Meta:
        default_permissions = []
        constraints = [models.UniqueConstraint(name="simulation_part_once", fields=["job", "first"])]

    def __str__(self):
        return f"{self.job}: accounts {self.first} to {self.last}"


class Quarantined(models.Model):
    """An account a run could not evaluate, with the reason; the rest of the run went on."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="quarantined")
    layer = models.ForeignKey(Layer, null=True, on_delete=models.CASCADE)
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    reason = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(name="quarantined_once", fields=["run", "layer", "account"])]

    def __str__(self):
        return f"{self.account}: {self.reason}"


DIFFERS = Q(computed__isnull=False, effective__isnull=False) & ~Q(computed=F("effective"))


class AssignmentQuerySet(models.QuerySet):
    def differing(self):
        """Assignments whose rules say another segment than the one in force."""
        return self.filter(DIFFERS)

    def needs_data(self):
        return self.filter(computed__isnull=True)


class Assignment(models.Model):
    """An account's state on a layer: what the rules say, and what is in force.

    `definition` is the rules under which this state began; the score's is that of the last evaluation. So new rules which
    change nothing for an account rewrite no tracked row.
    """

    # No index of their own: each would be written with every change, and those below serve the queries.
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="assignments", db_index=False)
    product = models.ForeignKey(  # on a layer of products; else none
        Product, null=True, on_delete=models.PROTECT, related_name="assignments", db_index=False
    )
    computed = models.ForeignKey(
        Segment, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    effective = models.ForeignKey(
        Segment, null=True, on_delete=models.PROTECT, related_name="assignments", db_index=False
    )
    definition = models.ForeignKey(Definition, on_delete=models.PROTECT, db_index=False)
    provisional = models.BooleanField(default=False)
    provisional_until = models.DateField(null=True)
    overridden = models.BooleanField(
        default=False
    )  # people pinned the segment in force; the rules go on computing
    reason = models.CharField(max_length=200, blank=True)  # why it needs data, as a code; see reasons.text
    computed_since = models.DateField()  # clock of the run that first gave this computed segment
    effective_since = models.DateField(null=True)
    # The fingerprint of the last evaluation: the same number, the same result. Untracked, like the scores.
    fingerprint = models.BigIntegerField(null=True, editable=False)
    objects = AssignmentQuerySet.as_manager()
    history = tracked(
        excluded_fields=["fingerprint"],
        no_db_index=["account", "layer", "product", "computed", "effective", "definition"],
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="assignment_once", fields=["account", "layer", "product"], nulls_distinct=False
            )
        ]
        indexes = [
            models.Index(name="assignment_effective", fields=["layer", "effective"]),
            models.Index(
                name="assignment_provisional", fields=["provisional_until"], condition=Q(provisional=True)
            ),
            models.Index(
                name="assignment_differs",
                fields=["layer", "account"],
                condition=DIFFERS,
            ),
        ]

    def __str__(self):
        return f"{self.account}: {self.layer}"


class AssignmentScore(models.Model):
    """The scores behind an assignment: untracked, written only when different.

    `scores` in the order of the document's dimensions, `points` in the order of its criteria; NULL where there is none.
    """

    assignment = models.OneToOneField(
        Assignment, primary_key=True, on_delete=models.CASCADE, related_name="score"
    )
    definition = models.ForeignKey(Definition, on_delete=models.PROTECT, db_index=False)
    composite = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    scores = ArrayField(models.DecimalField(max_digits=24, decimal_places=12, null=True), default=list)
    points = ArrayField(models.SmallIntegerField(null=True), default=list)
    rule = models.SmallIntegerField(null=True)
    distance = models.DecimalField(max_digits=32, decimal_places=12, null=True)
    thin = models.BooleanField(default=False)
    computed_at = models.DateField()  # clock of the run that wrote this row

    def __str__(self):
        return str(self.composite)


class Move(models.Model):
    """One change of an effective segment, and why. Append-only."""

    class Why(models.TextChoices):
        INITIAL = "initial", "First segment"
        DATA = "data", "The customer changed"
        DEFINITION = "definition", "The rules changed"
        BOTH = "both", "The customer and the rules changed"
        CUTOFFS = "cutoffs", "The cut-offs over all accounts moved"
        SEGMENTATION = "segmentation", "Another segmentation changed"
        POLICY = "policy", "It applies by itself now"
        PROVISIONAL = "provisional", "Decided after the provisional period"
        TRANSITION = "transition", "A tier change was approved"
        OVERRIDE = "override", "An override"
        CORRECTION = "correction", "A correction"

    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="moves", db_constraint=False, db_index=False
    )
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, db_index=False)
    product = models.ForeignKey(
        Product, null=True, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    from_segment = models.ForeignKey(
        Segment, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    to_segment = models.ForeignKey(
        Segment, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    why = models.CharField(max_length=12, choices=Why)
    definition = models.ForeignKey(Definition, on_delete=models.PROTECT, db_index=False)
    # A trigger proves that it is there and of the same transaction; a foreign key would check it twice.
    cause = models.ForeignKey(Cause, on_delete=models.PROTECT, db_constraint=False)
    at = models.DateField()  # the run's clock
    written_at = models.DateTimeField(db_default=Func(function="transaction_timestamp"))
    # {"facts": {fact: value as text}, "sources": {fact: [source, observed]}, "left_out": [dimension]}
    evidence = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="move_of_account", fields=["account", "layer", "-id"]),
            BrinIndex(name="move_written", fields=["written_at"]),  # tiny; rows come in this order
        ]
        verbose_name = "segment change"

    def __str__(self):
        return f"{self.account}: {self.from_segment} -> {self.to_segment}"


# Once confirmed a declaration has held, or holds: it ends by a day, never by being removed.
CONFIRMED_ONCE = Q(status="confirmed") | Q(until_date__isnull=False)


class DeclarationQuerySet(models.QuerySet):
    def proposed(self):
        return self.filter(status="proposed")

    def in_force(self):
        return self.filter(status="confirmed")

    def holding(self, at):
        """Declarations the rules see as `declared` at this clock (a date), at most one per account and layer."""
        ended = Q(until_date__isnull=True) | Q(until_date__gt=at)
        return self.filter(CONFIRMED_ONCE, ended, from_date__lte=at)


def _id_range(column):
    return Func(F(column), F(column), Value("[]"), function="int8range")


class Declaration(models.Model):
    """A segment people decided for an account: proposed by one, confirmed by another, with reason and evidence.

    Confirmed, it is what the rules read as `declared` from `from_date` until the day before `until_date`. Its words never
    change (a trigger): another value is another declaration.
    """

    class Status(models.TextChoices):
        PROPOSED = "proposed", "Proposed"
        CONFIRMED = "confirmed", "Confirmed"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        REPLACED = "replaced", "Replaced"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="declarations")
    layer = models.ForeignKey(Layer, on_delete=models.PROTECT, related_name="declarations", db_index=False)
    segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="declarations")
    status = models.CharField(max_length=10, choices=Status, default=Status.PROPOSED)
    reason = models.TextField()
    evidence = models.TextField(blank=True)
    from_date = models.DateField("holds from")
    until_date = models.DateField("until", null=True)
    proposed_by = models.IntegerField(null=True, default=actor_id)
    proposed_by_label = models.CharField(max_length=200, default=actor_label)
    proposed_at = models.DateTimeField(default=timezone.now)
    decided_by = models.IntegerField(null=True)
    decided_by_label = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)
    ended_by = models.IntegerField(null=True)
    ended_by_label = models.CharField(max_length=200, blank=True)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.TextField(blank=True)
    objects = DeclarationQuerySet.as_manager()
    history = tracked()

    class Meta:
        ordering = ["-id"]
        verbose_name = "declared value"
        default_permissions = ["view"]
        permissions = [
            ("propose_declaration", "Can propose declared values"),
            ("confirm_declaration", "Can confirm, reject and withdraw declared values"),
        ]
        indexes = [
            models.Index(name="declaration_of_account", fields=["layer", "account", "-id"]),
            models.Index(name="declaration_proposed", fields=["id"], condition=Q(status="proposed")),
        ]
        constraints = [
            models.UniqueConstraint(
                name="one_proposed_declaration", fields=["account", "layer"], condition=Q(status="proposed")
            ),
            models.UniqueConstraint(
                name="one_confirmed_declaration", fields=["account", "layer"], condition=Q(status="confirmed")
            ),
            ExclusionConstraint(  # a clock finds one value; ranges, so that no extension is needed
                name="declarations_one_after_another",
                expressions=[
                    (_id_range("account_id"), RangeOperators.OVERLAPS),
                    (_id_range("layer_id"), RangeOperators.OVERLAPS),
                    (Func(F("from_date"), F("until_date"), function="daterange"), RangeOperators.OVERLAPS),
                ],
                condition=CONFIRMED_ONCE,
            ),
            models.CheckConstraint(
                name="declaration_by_two_people",
                condition=~Q(decided_by=F("proposed_by")),
                violation_error_message="Somebody else than the proposer decides.",
            ),
            models.CheckConstraint(
                name="declaration_decided",
                condition=Q(status="proposed", decided_at=None)
                | Q(status__in=["confirmed", "rejected"], decided_at__isnull=False)
                | Q(status__in=["withdrawn", "replaced"]),
            ),
            models.CheckConstraint(
                name="declaration_ended",
                condition=Q(status__in=["proposed", "confirmed", "rejected"], ended_at=None, until_date=None)
                | Q(status__in=["withdrawn", "replaced"], ended_at__isnull=False)
                & (
                    Q(decided_at=None, until_date=None)
                    | Q(decided_at__isnull=False, until_date__gte=F("from_date"))
                ),
            ),
        ]

    def __str__(self):
        return f"{self.account}: {self.layer} {self.segment}"


class JobToBeDone(models.Model):
    """A job for which customers of a declared segment hire the product, and what is known about it from interviews."""

    segment = models.OneToOneField(Segment, on_delete=models.PROTECT, related_name="job")
    statement = models.CharField(
        max_length=400, blank=True, help_text="When …, I want to …, so that …: in the customer's words."
    )
    success_criteria = models.TextField(blank=True, help_text="How the customer tells that the job is done.")
    proof_points = models.TextField(blank=True, help_text="What shows that we do it: numbers, references.")
    expansion_path = models.TextField(blank=True, help_text="What such a customer needs next.")
    replaced_tool = models.CharField(
        max_length=200, blank=True, help_text="What did this job before us: a tool, a spreadsheet, an agency."
    )
    decks_updated_on = models.DateField(
        "decks and talk tracks updated", null=True, blank=True, help_text="When they last took up this job."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    edited_at = models.DateTimeField(auto_now=True)
    history = tracked()

    class Meta:
        ordering = ["segment__layer__position", "segment__layer__key", "segment__position", "segment__key"]
        verbose_name = "job to be done"
        verbose_name_plural = "jobs to be done"

    def __str__(self):
        return str(self.segment)


class Interview(models.Model):
    """A conversation a job to be done was learned from."""

    job = models.ForeignKey(JobToBeDone, on_delete=models.CASCADE, related_name="interviews")
    held_on = models.DateField("date")
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="interviews"
    )
    person = models.CharField(max_length=200, blank=True)
    role = models.CharField(max_length=200, blank=True)
    notes = models.TextField(blank=True)
    edited_at = models.DateTimeField(auto_now=True)
    history = tracked()

    class Meta:
        ordering = ["-held_on", "-id"]

    def __str__(self):
        return " · ".join(filter(None, [str(self.held_on), self.person, self.role]))
