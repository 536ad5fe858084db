"""Verbs for the accounts chosen in their list: each is asked of every account as it is asked of one, and says what came of it."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import QueryDict
from django.urls import reverse

from accounts import catalogue, corrections
from accounts.admin.fields import Line, Row, ids
from accounts.admin.verbs import VerbForm, VerbPage
from accounts.models import Account, Csm
from core.refusals import refused_by
from core.wording import count, plural

LIST = "admin:accounts_account_changelist"
MOST = 1_000  # accounts in one go
NAMED = 20  # accounts named on a page about many
TOLD = 20  # sentences about accounts that are left as they are
WAITS = "waits for a decision, because it would change a segment and another source has the last word, or an override is in force."


class BulkForm(VerbForm):
    """A verb for each of the accounts. button: its words. done: what is said of those it is done for."""

    button = done = ""

    def each(self, account):
        """Carry it out for one account; "", or why it is left as it is. May raise Refused."""
        raise NotImplementedError

    def carry_out(self):
        done, left = 0, {}
        for account in self.thing:
            if why := self._why_not(account):
                left.setdefault(why, []).append(str(account))
            else:
                done += 1
        if done:
            self.say(f"{plural(done, 'account,accounts')}: {self.done}")
        tell_left(self.page.request, left)
        return self.page.back

    def _why_not(self, account):
        try:
            return self.each(account)
        except Exception as error:
            if refusal := refused_by(error):
                return str(refusal)
            raise


def tell_left(request, left):
    """Tell which accounts are left as they are, and why: {sentence: [accounts]}."""
    by_number = sorted(left.items(), key=lambda pair: -len(pair[1]))
    for sentence, accounts in by_number[:TOLD]:
        more = len(accounts) - NAMED
        named = ", ".join(accounts[:NAMED]) + (f" and {count(more)} more" if more > 0 else "")
        text = f"{plural(len(accounts), 'account is,accounts are')} left as before ({named}): {sentence}"
        messages.warning(request, text)
    if more := sum(len(accounts) for _, accounts in by_number[TOLD:]):
        messages.warning(
            request,
            f"{plural(more, 'further account is,further accounts are')} left as before, for like reasons.",
        )


class BulkPage(VerbPage):
    """The form for the accounts of the address, or of the selection (`asking`); it leads back to the list as it was."""

    template = "segmentation/account/in_bulk.html"
    url = ""  # the name of its own address
    most = MOST
    says = ""  # what happens, under the heading

    def may(self):
        return self.admin.has_change_permission(self.request)

    def load(self):
        if not self.may():
            raise PermissionDenied
        return self.chosen(ids(self.sent("accounts")))

    def chosen(self, keys):
        return list(Account.objects.filter(pk__in=keys).select_related("csm").order_by("name", "pk"))

    def elsewhere(self):
        if not self.thing:
            messages.warning(self.request, "Choose the accounts first.")
        elif len(self.thing) > self.most:
            messages.error(self.request, too_many(self.most))
        else:
            return ""
        return self.back

    @property
    def listed(self):
        """The list as it was, as the rest of its address."""
        if "list" in self.request.POST:
            return self.request.POST["list"]
        kept = self.request.GET.copy()
        kept.pop("accounts", None)
        return kept.urlencode()

    @property
    def back(self):
        return f"{reverse(LIST)}?{QueryDict(self.listed).urlencode()}".rstrip("?")

    def context(self):
        accounts = self.thing
        return {
            "action": reverse(self.url),
            "accounts": accounts[:NAMED],
            "ids": ",".join(str(account.pk) for account in accounts),
            "count": len(accounts),
            "more": len(accounts) - NAMED,
            "list": self.listed,
            "back": self.back,
            "button": next(iter(self.verbs.values())).button,
            "says": self.says,
        }


def too_many(most):
    return f"At most {count(most)} accounts at a time, and nothing was done: narrow the list first."


def asking(page_class, admin, request, queryset):
    """The page that asks, for accounts chosen in the list; None where there are too many, which is said."""
    keys = list(queryset.order_by().values_list("pk", flat=True)[: page_class.most + 1])
    if len(keys) > page_class.most:
        messages.error(request, too_many(page_class.most))
        return None
    view = page_class(admin=admin)
    view.setup(request)
    if not view.may():
        raise PermissionDenied
    view.thing = view.chosen(keys)
    return view.show()


# -- as the form that corrects one account


def _written(conflicts):
    """Say what became of a correction: "", or that it waits for a decision."""
    return (
        f"{', '.join(catalogue.label(conflict.fact) for conflict in conflicts)} {WAITS}" if conflicts else ""
    )


class AssignForm(BulkForm):
    button, done = "Assign the CSM", "the CSM is assigned."
    at = {"csm_login_closed": "csm"}
    csm = Row(
        "CSM",
        gone="This CSM is not there any more: choose another one.",
        missing="Choose a CSM.",
        rows=Csm.objects.able(),
    )
    reason = Line(
        "Reason for the change", missing="Say why.", help="Kept in the history, for whoever asks later."
    )

    def carry_out(self):
        corrections.check_csm(self.cleaned_data["csm"])
        return super().carry_out()

    def each(self, account):
        csm = self.cleaned_data["csm"]
        if account.csm == csm:
            return f"{csm} is the CSM already."
        reason = self.cleaned_data["reason"]
        return _written(corrections.correct(account, {"csm": csm}, by=self.by, reason=reason))


class AssignPage(BulkPage):
    title = "Assign a CSM"
    url = "admin:accounts_account_assign"
    verbs = {"assign": AssignForm}
    says = "As on the page of one account: at once, without joint coverage. A hand-over with its plan is a tier change or an override."


class ExcludeForm(BulkForm):
    button, done = "Exclude", "excluded. Segments follow with the next recalculation."
    reason = Line(
        "Why they are excluded", missing="Say why.", help="Shown on the account, and kept in its history."
    )

    def each(self, account):
        if account.excluded:
            return f"Excluded already: “{account.exclusion_reason}”"
        reason = self.cleaned_data["reason"]
        changes = {"excluded": True, "exclusion_reason": reason}
        return _written(corrections.correct(account, changes, by=self.by, reason=reason))


class ExcludePage(BulkPage):
    title = "Exclude"
    url = "admin:accounts_account_exclude"
    verbs = {"exclude": ExcludeForm}
    says = "Excluded accounts are not scored and count nowhere, until somebody takes the exclusion back on the account's page."
