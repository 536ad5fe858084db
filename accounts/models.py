"""Customer companies and what is known about them. Knows nothing of segments."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Collate, Lower, Upper
from django.utils import timezone

from core.history import actor_channel, actor_id, actor_label, tracked
from core.work import Part

from . import catalogue, parents


def begins(column):
    """A column as texts that begin with something are found by an index, whatever language the database sorts in."""
    return Collate(Upper(column), "C")


class SourceSystem(models.Model):
    """Where facts come from: the CRM, billing, product analytics."""

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=200)

    def __str__(self):
        return self.name


class CsmQuerySet(models.QuerySet):
    def able(self):
        """CSMs an account may be given to: not those whose login is closed. Most never had one, and get mail elsewhere."""
        return self.exclude(user__is_active=False)


class Csm(models.Model):
    """The one who looks after accounts: a person, a pool of people, or the digital programme."""

    class Kind(models.TextChoices):
        PERSON = "person", "Person"
        POOL = "pool", "Pool"
        DIGITAL = "digital", "Digital programme"

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PERSON)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="csm"
    )
    history = tracked()
    objects = CsmQuerySet.as_manager()

    class Meta:
        verbose_name = "CSM"
        verbose_name_plural = "CSMs"
        ordering = ["name", "email"]

    def __str__(self):
        return self.name or self.email

    @property
    def closed(self):
        """Their login was closed: they do nothing here any more."""
        return self.user is not None and not self.user.is_active


class Product(models.Model):
    key = models.CharField(max_length=100, unique=True)
    name = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key


class AccountQuerySet(models.QuerySet):
    def customers(self):
        return self.filter(kind=Account.Kind.CUSTOMER, excluded=False)

    def active(self):
        """Active customers: what every share is a share of."""
        return self.customers().filter(status=Account.Status.ACTIVE)

    def scored(self):
        """Active and paused customers: those the rules are applied to."""
        return self.customers().filter(status__in=Account.SCORED)


class Account(models.Model):
    """A customer company. The fact columns are nullable: NULL is "not known"."""

    class Kind(models.TextChoices):
        CUSTOMER = "customer", "Customer"
        TRIAL = "trial", "Trial"
        INTERNAL = "internal", "Internal"
        TEST = "test", "Test"

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"
        CHURNED = "churned", "Churned"

    SCORED = (Status.ACTIVE, Status.PAUSED)

    external_id = models.CharField("account ID", max_length=200, unique=True)
    name = models.CharField(max_length=400, blank=True)
    domain = models.CharField("web domain", max_length=400, null=True, blank=True)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CUSTOMER)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    excluded = models.BooleanField(default=False)
    exclusion_reason = models.CharField(max_length=400, blank=True)
    industry = models.CharField(max_length=400, null=True, blank=True)
    employees = models.BigIntegerField(null=True, blank=True)
    annual_revenue = models.DecimalField(max_digits=20, decimal_places=2, null=True, blank=True)
    country = models.CharField(max_length=400, null=True, blank=True)
    billing_country = models.CharField(max_length=400, null=True, blank=True)
    region = models.CharField(max_length=400, null=True, blank=True)
    growth_stage = models.CharField(max_length=400, null=True, blank=True)
    tech_stack = models.TextField("technology", null=True, blank=True)
    ownership = models.CharField(max_length=400, null=True, blank=True)
    language = models.CharField(max_length=400, null=True, blank=True)
    timezone = models.CharField("time zone", max_length=400, null=True, blank=True)
    data_residency = models.CharField(max_length=400, null=True, blank=True)
    fit_score = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    csm = models.ForeignKey(
        Csm, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts", verbose_name="CSM"
    )
    contract_start = models.DateField("customer since", null=True, blank=True)
    renewal_date = models.DateField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    contract_type = models.CharField(max_length=400, null=True, blank=True)
    arr = models.DecimalField("ARR (imported)", max_digits=20, decimal_places=2, null=True, blank=True)
    acv = models.DecimalField("ACV", max_digits=20, decimal_places=2, null=True, blank=True)
    expansion_ratio = models.DecimalField(
        "expansion potential", max_digits=20, decimal_places=6, null=True, blank=True
    )
    lifetime_value = models.DecimalField(max_digits=20, decimal_places=2, null=True, blank=True)
    success_package = models.CharField(max_length=400, null=True, blank=True)
    strategic_importance = models.CharField(max_length=400, null=True, blank=True)
    seats_licensed = models.BigIntegerField("licensed seats", null=True, blank=True)
    stakeholders = models.BigIntegerField(null=True, blank=True)
    economic_buyer_left = models.BooleanField(null=True, blank=True)
    success_plan_active = models.BooleanField(null=True, blank=True)
    last_qbr = models.DateField("last business review", null=True, blank=True)
    custom = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    provenance = models.JSONField(default=dict, blank=True)  # {fact: [source key, date observed]}
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AccountQuerySet.as_manager()
    history = tracked(excluded_fields=["provenance", "created_at"])

    class Meta:
        ordering = ["name", "external_id"]
        indexes = [
            models.Index(name="account_by_name", fields=["name", "-id"]),  # the list's order
            *[
                models.Index(begins(column), name=f"account_begins_{column}")  # accounts.lookup
                for column in ["name", "external_id", "domain"]
            ],
        ]
        constraints = [
            models.CheckConstraint(
                name="account_excluded_with_reason",
                condition=Q(excluded=False) | ~Q(exclusion_reason=""),
                violation_error_message="Say why this account is excluded.",
            ),
            models.CheckConstraint(name="account_not_its_own_parent", condition=~Q(parent=models.F("id"))),
            *[
                models.CheckConstraint(
                    name=f"account_{column}_not_negative", condition=Q(**{f"{column}__gte": 0})
                )
                for column in [
                    "employees",
                    "annual_revenue",
                    "arr",
                    "acv",
                    "expansion_ratio",
                    "seats_licensed",
                    "lifetime_value",
                    "stakeholders",
                ]
            ],
            models.CheckConstraint(
                name="account_fit_score_of_100", condition=Q(fit_score__gte=0, fit_score__lte=100)
            ),
        ]
        permissions = [
            ("import_accounts", "Can import accounts"),
            ("export_accounts", "Can export accounts"),
        ]

    def __str__(self):
        return self.name or self.external_id

    @property
    def is_scored(self):
        """As AccountQuerySet.scored."""
        return self.kind == Account.Kind.CUSTOMER and not self.excluded and self.status in Account.SCORED

    def clean(self):
        """The database refuses a circle too; here it is told with its names."""
        if self.pk and self.parent_id and (names := parents.circle(self.pk, self.parent_id)):
            raise ValidationError({"parent": f"This cannot be the parent: {parents.circle_in_words(names)}."})


class SystemOfRecord(models.Model):
    """Which source has the last word on a fact. For a fact without one, whatever is imported last counts."""

    fact = models.CharField("data field", max_length=100, unique=True)  # a name of the catalogue
    source = models.ForeignKey(
        SourceSystem,
        on_delete=models.PROTECT,
        related_name="facts",
        verbose_name="system of record",
    )
    history = tracked()

    class Meta:
        ordering = ["fact"]
        verbose_name = "system of record"
        verbose_name_plural = "systems of record"

    def __str__(self):
        return f"{catalogue.label(self.fact)}: {self.source}"


class ConflictQuerySet(models.QuerySet):
    def open(self):
        return self.filter(status=Conflict.Status.OPEN)


class Conflict(models.Model):
    """A value that was held back because it would change how an account is segmented: people keep or take it.

    Values are text, as `accounts.quality.disputes` writes them (a parent is its account ID); NULL is "not known".
    """

    class Status(models.TextChoices):
        OPEN = "open", "Waits for a decision"
        KEPT = "kept", "Kept what we had"
        TAKEN = "taken", "Taken over"
        SUPERSEDED = "superseded", "A newer proposal came"
        CLOSED = "closed", "Settled by the sources"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="conflicts")
    fact = models.CharField("data field", max_length=100)
    held_value = models.TextField("value we have", null=True)
    held_source = models.CharField(max_length=200, blank=True)
    held_observed = models.DateField(null=True)
    proposed_value = models.TextField("value proposed", null=True)
    proposed_source = models.CharField(max_length=200)
    proposed_observed = models.DateField()
    effects = models.JSONField(default=list)  # what it would change, as whoever weighs it says
    reason = models.TextField(blank=True)  # of a person who proposed it
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    opened_at = models.DateTimeField(default=timezone.now)
    opened_by = models.IntegerField(null=True)
    opened_by_label = models.CharField(max_length=200, blank=True)
    batch = models.BigIntegerField(null=True)  # the import that brought it
    # Asked after an acquisition: who buys now, what for, under which contract.
    buying_centre = models.TextField("Who decides about buying now?", blank=True)
    use_case = models.TextField("What will they use it for?", blank=True)
    contract = models.TextField("Which contract holds, until when?", blank=True)
    note = models.TextField(blank=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.IntegerField(null=True)
    decided_by_label = models.CharField(max_length=200, blank=True)
    objects = ConflictQuerySet.as_manager()
    history = tracked()

    class Meta:
        ordering = ["-id"]
        default_permissions = ["view"]
        permissions = [
            ("resolve_conflict", "Can decide which of two values counts"),
            ("report_conflict", "Can report wrong data"),
        ]
        constraints = [
            models.UniqueConstraint(
                name="one_open_conflict",
                fields=["account", "fact"],
                condition=Q(status="open"),
                violation_error_message="A value of this data field waits for a decision already.",
            ),
            models.CheckConstraint(
                name="conflict_decided_by_somebody",
                condition=~Q(status__in=["kept", "taken"]) | ~Q(decided_by_label="") & ~Q(note=""),
            ),
            models.CheckConstraint(
                name="conflict_ends_once",
                condition=Q(status="open", decided_at=None) | ~Q(status="open") & Q(decided_at__isnull=False),
            ),
        ]
        indexes = [models.Index(name="conflict_of_account", fields=["account", "fact", "-id"])]

    def __str__(self):
        return f"{self.account}: {catalogue.label(self.fact)}"


class Subscription(models.Model):
    """A product an account pays for; `end_date` is the first day it no longer runs."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAST_DUE = "past due", "Past due"
        TRIAL = "trial", "Trial"
        PAUSED = "paused", "Paused"
        CANCELLED = "cancelled", "Cancelled"
        EXPIRED = "expired", "Expired"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="subscriptions")
    subscription_id = models.CharField("subscription ID", max_length=200)
    product = models.ForeignKey(Product, null=True, blank=True, on_delete=models.PROTECT)
    start_date = models.DateField()
    end_date = models.DateField(null=True, blank=True)
    arr = models.DecimalField("ARR", max_digits=20, decimal_places=2)
    currency = models.CharField(max_length=3, blank=True)
    seats_licensed = models.BigIntegerField("licensed seats", null=True, blank=True)
    contract_type = models.CharField(max_length=400, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    source = models.CharField(max_length=200, blank=True)
    observed = models.DateField(null=True, blank=True)

    history = tracked(excluded_fields=["source", "observed"])

    class Meta:
        ordering = ["-start_date", "subscription_id"]
        constraints = [
            models.UniqueConstraint(name="subscription_once", fields=["account", "subscription_id"]),
            models.CheckConstraint(name="subscription_arr_not_negative", condition=Q(arr__gte=0)),
            models.CheckConstraint(
                name="subscription_ends_after_start",
                condition=Q(end_date=None) | Q(end_date__gte=models.F("start_date")),
            ),
        ]

    def __str__(self):
        return self.subscription_id


class Usage(models.Model):
    """Behavioural facts of an account, and of an account on one product (`product` set)."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="usage")
    product = models.ForeignKey(Product, null=True, blank=True, on_delete=models.PROTECT)
    active_users = models.BigIntegerField("active users, 30 days", null=True, blank=True)
    last_active_at = models.DateField("last active", null=True, blank=True)
    login_days_30d = models.BigIntegerField("days with a login, 30 days", null=True, blank=True)
    feature_adoption = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    feature_breadth = models.BigIntegerField("features used", null=True, blank=True)
    workflow_maturity = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    integrations_live = models.BigIntegerField(null=True, blank=True)
    departments_using = models.BigIntegerField("departments using it", null=True, blank=True)
    time_in_product = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    usage_change_30d = models.DecimalField(
        "usage change, 30 days", max_digits=20, decimal_places=6, null=True, blank=True
    )
    tickets_open = models.BigIntegerField("open tickets", null=True, blank=True)
    tickets_90d = models.BigIntegerField("tickets, 90 days", null=True, blank=True)
    escalations_90d = models.BigIntegerField("escalations, 90 days", null=True, blank=True)
    time_to_resolution = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    nps = models.BigIntegerField("NPS", null=True, blank=True)
    csat = models.DecimalField("CSAT", max_digits=20, decimal_places=6, null=True, blank=True)
    engagement_score = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    intent_score = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    onboarding_completion = models.DecimalField(
        "onboarding completed", max_digits=20, decimal_places=6, null=True, blank=True
    )
    missed_check_ins = models.BigIntegerField("missed check-ins", null=True, blank=True)
    last_csm_contact = models.DateField("last CSM contact", null=True, blank=True)
    provenance = models.JSONField(default=dict, blank=True)  # {fact: [source key, date observed]}

    class Meta:
        verbose_name_plural = "usage"
        constraints = [
            models.UniqueConstraint(
                name="usage_once_per_account", fields=["account"], condition=Q(product=None)
            ),
            models.UniqueConstraint(
                name="usage_once_per_product", fields=["account", "product"], condition=~Q(product=None)
            ),
        ]

    def __str__(self):
        return f"{self.account} {self.product or ''}".strip()


class Signal(models.Model):
    """Something that happened at an account on a date: sponsor departed, first workflow, escalation."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="signals")
    signal = models.CharField(max_length=100)
    at = models.DateField()
    source = models.CharField(max_length=200, blank=True)
    # NULL: from before this was noted.
    learnt_at = models.DateTimeField(
        null=True, db_default=Func(function="transaction_timestamp"), editable=False
    )

    class Meta:
        ordering = ["-at", "signal"]
        constraints = [models.UniqueConstraint(name="signal_once", fields=["account", "signal", "at"])]
        verbose_name = "account event"

    def __str__(self):
        return self.signal


class FactChange(models.Model):
    """A change of an account, in one go: the new values, the day they are of, and when we learnt them.

    Written by triggers (4_fact_changes.sql), of values that an older file told too late by `accounts.records`; read by
    `accounts.past`. Append-only, but for usage of which a month is put into one row (`thinned_from`).
    """

    class Home(models.TextChoices):
        ACCOUNT = "account", "Account"
        USAGE = "usage", "Usage"
        SUBSCRIPTION = "subscription", "Subscription"

    id = models.BigAutoField(primary_key=True)
    # No foreign keys: checking them would cost an import more than writing the rows.
    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="fact_changes", db_constraint=False, db_index=False
    )
    home = models.CharField(max_length=12, choices=Home)  # the table the values are columns of
    product = models.BigIntegerField(null=True)  # of usage of one
    subscription = models.BigIntegerField(null=True)  # its id, where the row is about one
    observed = models.DateField(null=True)  # NULL: not known, and so of any day
    source = models.CharField(max_length=200, blank=True)
    values = models.JSONField()  # {column: value}; [] is a value that is known no more
    learnt_at = models.DateTimeField(db_default=Func(function="transaction_timestamp"))
    # The first of the days of a month whose rows this one stands for; `observed` is the last of them.
    thinned_from = models.DateField(null=True)

    class Meta:
        default_permissions = []
        ordering = ["id"]
        indexes = [models.Index(name="fact_change_of_account", fields=["account", "learnt_at"])]

    def __str__(self):
        return f"{self.account_id}: {', '.join(self.values)}"


class ImportBatch(models.Model):
    """One import: what was read, what it did or would do, and both ledgers."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        CHECKING = "checking", "Checking"
        PREVIEWED = "previewed", "Preview"
        COMMITTING = "committing", "Saving"
        COMMITTED = "committed", "Imported"
        FAILED = "failed", "Failed"
        GIVEN_UP = "given up", "Given up"

    name = models.CharField(max_length=400)
    recipe = models.TextField(blank=True)  # the YAML as given
    as_of = models.DateField(null=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    error = models.TextField(blank=True)
    progress = models.JSONField(default=dict, blank=True)  # {"step": sentence, "done": n, "of": n}
    files = models.JSONField(
        default=list, blank=True
    )  # [{"source", "file", "delimiter", "encoding", "above", "header", "lines", "read", "rejected"}]
    queries = models.JSONField(
        default=list, blank=True
    )  # [{"query", "rows", "created", "updated", "unchanged", "rejected", "queued", "made"}]
    warnings = models.JSONField(default=list, blank=True)  # [{"query", "warning", "count", "examples"}]
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.IntegerField(null=True)
    created_by_label = models.CharField(max_length=200, blank=True)
    skip_rejected = models.BooleanField(default=False)  # import the good rows, leave the others out
    committed_by = models.IntegerField(null=True)
    committed_by_label = models.CharField(max_length=200, blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "import"

    def __str__(self):
        return self.name


class ImportPart(Part):
    """The work an import waits for: to be checked or committed, as its status says."""

    job = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="parts")

    class Meta:
        default_permissions = []
        constraints = [
            models.UniqueConstraint(
                name="one_open_part_per_import",
                fields=["job"],
                condition=Q(status__in=["pending", "claimed"]),
            )
        ]

    def __str__(self):
        return str(self.job)


class ImportFile(models.Model):
    """An uploaded file, kept until its import has been committed or given up."""

    batch = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=400)
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(name="import_file_once", fields=["batch", "name"])]

    def __str__(self):
        return self.name


class RejectedRow(models.Model):
    """A line of a file or a row of a query that was not imported, with its reason."""

    batch = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="rejected")
    origin = models.CharField(max_length=200)  # the source's or the query's name
    line = models.BigIntegerField(null=True)  # of the file, where it is one
    external_id = models.TextField(blank=True)
    column = models.CharField(max_length=200, blank=True)
    value = models.TextField(blank=True)
    reason = models.TextField()  # the same for all that are wrong in the same way
    hint = models.TextField(blank=True)  # what to do about this one
    source = models.CharField(max_length=200, blank=True)  # whose line it is
    file = models.CharField(max_length=400, blank=True)
    subscription_id = models.TextField(blank=True)
    record = models.JSONField(null=True)  # the cells of the line, to be mended and imported again

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return self.reason


class SavedView(models.Model):
    """A list as somebody likes to see it: its search, its filters and its order, under a name.

    A person is an integer and a label, as in history rows: shared views outlive who saved them.
    """

    listing = models.CharField(max_length=100)  # the list's model: accounts.account
    query = models.CharField(max_length=2000)  # of its address, as accounts.saved_views.query writes it
    name = models.CharField(max_length=80)
    shared = models.BooleanField(default=False)  # with everybody who may see the list
    owner = models.IntegerField()
    owner_label = models.CharField(max_length=200)

    class Meta:
        default_permissions = ()  # everybody has views of their own
        permissions = [("manage_savedviews", "Can change and delete views that others share")]
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint("owner", "listing", Lower("name"), name="saved_view_name_once"),
        ]

    def __str__(self):
        return self.name


class Refusal(models.Model):
    """Something a person was told they may not do. Append-only; written after what was refused was rolled back."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    verb = models.CharField(max_length=100)  # approvals.approve
    model = models.CharField(max_length=100, blank=True)
    object_id = models.BigIntegerField(null=True)
    subject = models.CharField(max_length=400, blank=True)
    code = models.CharField(max_length=100)  # of core.refusals, as docs/refusals.md lists them
    sentence = models.TextField()
    actor = models.IntegerField(null=True, default=actor_id)
    actor_label = models.CharField(max_length=200, default=actor_label)
    channel = models.CharField(max_length=20, default=actor_channel)

    class Meta:
        ordering = ["-id"]
        default_permissions = []

    def __str__(self):
        return self.sentence
