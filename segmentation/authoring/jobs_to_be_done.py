"""Jobs to be done: what they were learned from, and whether anybody works with them.

A job that nobody works with is a poster on the wall. It counts as used on the last day of these: its segment was proposed
or confirmed for an account, it or one of its interviews was edited, decks and talk tracks took it up.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, Max, OuterRef, Subquery
from django.utils import timezone

from core.wording import day
from segmentation.models import Declaration, Interview, JobToBeDone

UNUSED_AFTER = 30  # days; methodology, other_layers.job_to_be_done
INTERVIEWS = (15, 25)  # of a segmentation, over all its jobs
JOBS = (4, 7)  # of a segmentation
FIELDS = ("statement", "success_criteria", "proof_points", "expansion_path", "replaced_tool")


@dataclass(frozen=True)
class Verdict:
    """`level`: ok or warn; `text`: a sentence."""

    level: str
    text: str


def listed():
    """All jobs with what `last_used` and `unused` read, in three subqueries."""
    declared = Declaration.objects.filter(segment=OuterRef("segment")).order_by().values("segment")
    talks = Interview.objects.filter(job=OuterRef("pk")).order_by().values("job")
    return JobToBeDone.objects.select_related("segment__layer").annotate(
        proposed_last=Subquery(declared.annotate(last=Max("proposed_at")).values("last")),
        confirmed_last=Subquery(
            declared.exclude(status=Declaration.Status.REJECTED)
            .annotate(last=Max("decided_at"))
            .values("last")
        ),
        talks=Subquery(talks.annotate(number=Count("pk")).values("number")),
        talked_last=Subquery(talks.annotate(last=Max("edited_at")).values("last")),
    )


def last_used(job) -> date:
    """The day a job of `listed` was last used."""
    moments = filter(None, [job.proposed_last, job.confirmed_last, job.talked_last, job.edited_at])
    days = [timezone.localtime(moment).date() for moment in moments]
    return max([*days, *filter(None, [job.decks_updated_on])])


def unused(job, *, at):
    """The sentence that flags a job nobody has used for 30 days, else ""."""
    last = last_used(job)
    if last + timedelta(days=UNUSED_AFTER) > at:
        return ""
    return f"Not used since {day(last)}: nobody declared it for an account, edited it or took it into a deck."


def decks(job, *, at):
    """Whether decks and talk tracks took up the job within 30 days, as a Verdict."""
    if job.decks_updated_on is None:
        return Verdict("warn", "Not in decks and talk tracks yet")
    level = "ok" if job.decks_updated_on + timedelta(days=UNUSED_AFTER) > at else "warn"
    return Verdict(level, f"Updated {day(job.decks_updated_on)}")


def verdicts(jobs):
    """For jobs of one segmentation: whether there are four to seven, and 15 to 25 interviews behind them."""
    talks = sum(job.talks or 0 for job in jobs)
    return [
        _counted(len(jobs), JOBS, "job,jobs", "Fewer say too little apart.", "More blur into each other."),
        _counted(
            talks,
            INTERVIEWS,
            "interview,interviews",
            "With fewer, jobs are guesses.",
            "More rarely say anything new.",
        ),
    ]


def _counted(number, expected, noun, few, many):
    low, high = expected
    singular, more = noun.split(",")
    sentence = f"{number} {singular if number == 1 else more}; {low} to {high} expected."
    if low <= number <= high:
        return Verdict("ok", sentence)
    return Verdict("warn", f"{sentence} {few if number < low else many}")


def load(segment, preset):
    """The job a preset says for a segment; one that is there stays as people wrote it."""
    JobToBeDone.objects.get_or_create(
        segment=segment, defaults={name: preset.get(name, "") for name in FIELDS}
    )
