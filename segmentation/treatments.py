"""The service of a segment: one table that models, forms, cards, pages and checks read.

A segmentation decides some of these (`Layer.decides`); its segments' treatments say them. Imports nothing of ours, so
that the models can read it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One thing a treatment can say.

    name: the column of Treatment. label, help: on forms, cards and pages. group: the heading it stands under.
    customer: whether customers may read it. model: the column of ServiceModel that says it where the treatment does not.
    primary: only the primary segmentation decides it, because it drives coverage. long: some lines of text.
    each: every segmentation that decides it says its own, and none overrules another: what is done on entry is of that entry.
    """

    name: str
    label: str
    help: str
    group: str
    customer: bool = False
    model: str = ""
    primary: bool = False
    long: bool = False
    each: bool = False

    @property
    def column(self):
        """The label within a sentence: `touch frequency`, but `CS engagement`."""
        return self.label if self.label[1:2].isupper() else self.label[:1].lower() + self.label[1:]

    def shown(self, value):
        """The value as people read it; "" where nothing is said."""
        if value in (None, ""):
            return ""
        return (
            f"{value} day{'s' if value != 1 else ''} before"
            if self.name == "renewal_lead_days"
            else str(value)
        )


SERVICE, RENEWAL, STORY, PLAYS, STRATEGY = "Service", "Renewal and growth", "Story", "Plays", "Strategy"

FIELDS = {
    field.name: field
    for field in [
        Field("service_model", "Service model", "Who looks after the customer, how often, and how many accounts one CSM has.", SERVICE, customer=True, primary=True),
        Field("touch_frequency", "Touch frequency", "How often somebody gets in touch; left empty, the check-ins of the service model.", SERVICE, customer=True, model="check_in"),
        Field("communication_cadence", "Communication cadence", "What is sent regularly, and how often: newsletter, usage report, release notes.", SERVICE, customer=True),
        Field("channel", "Channel", "Where the customer meets us; left empty, the channels of the service model.", SERVICE, customer=True, model="channels"),
        Field("support_sla", "Support SLA", "How fast support answers, and at what hours.", SERVICE, customer=True),
        Field("owner_role", "Owner role", "The role that answers for serving these customers well.", SERVICE),
        Field("success_plan_template", "Success-plan template", "The template a success plan starts from.", SERVICE, customer=True),
        Field("renewal_motion", "Renewal motion", "Who leads the renewal, and how.", RENEWAL, customer=True),
        Field("renewal_lead_days", "Renewal starts", "Days before the renewal date.", RENEWAL, customer=True),
        Field("expansion_play", "Expansion play", "What is offered when there is room to grow.", RENEWAL, long=True),
        Field("discount_discipline", "Discount discipline", "How much discount, for what in return, and who approves it.", RENEWAL),
        Field("message", "Message", "The story these customers are told.", STORY, long=True),
        Field("offer", "Offer", "What they are offered.", STORY, long=True),
        Field("play_on_entry", "Play on entry", "What is done when an account comes into the segment.", PLAYS, long=True, each=True),
        Field("play_on_exit", "Play on exit", "What is done when an account leaves it.", PLAYS, long=True, each=True),
        # The strategy matrix; customer success first, because this is its tool.
        Field("cs_engagement", "CS engagement", "Strategy: how customer success engages.", STRATEGY, long=True),
        Field("marketing_approach", "Marketing approach", "Strategy: campaigns and content for these customers.", STRATEGY, long=True),
        Field("sales_model", "Sales model", "Strategy: who sells to them, and in what cycle.", STRATEGY, long=True),
        Field("product_priority", "Product priority", "Strategy: what the product does for them first.", STRATEGY, long=True),
        Field("success_metrics", "Success metrics", "Strategy: the numbers that say it works.", STRATEGY, long=True),
    ]
}  # fmt: skip

CHOICES = [(field.name, field.label) for field in FIELDS.values()]
PRIMARY = [field.name for field in FIELDS.values() if field.primary]

# Fields of a service model besides its name.
MODEL = [
    Field("csm_kind", "CSM", "A CSM of one's own, a pool, or none.", SERVICE, customer=True),
    Field("qbr", "Business reviews", "How often results are reviewed together.", SERVICE, customer=True),
    Field("onboarding", "Onboarding", "How customers are brought on board.", SERVICE, customer=True),
]


# Fields of the job to be done of a segment.
JOB = [
    Field("statement", "Job", "What the customer hires the product for.", STORY),
    Field(
        "success_criteria",
        "Success criteria",
        "How the customer tells that the job is done.",
        STORY,
        long=True,
    ),
    Field("proof_points", "Proof points", "What shows that we do it.", STORY, long=True),
    Field("expansion_path", "Expansion path", "What such a customer needs next.", STORY, long=True),
]

# The offer to a customer, line by line: what the service model says stands behind its name.
_FIRST, *_REST = FIELDS.values()
LINES = [_FIRST, *MODEL, *_REST]


def grouped():
    """[(heading, [fields])], in the order of the table."""
    groups = {}
    for field in FIELDS.values():
        groups.setdefault(field.group, []).append(field)
    return list(groups.items())
