"""The inbox: what one person was told, how they want to be told, and the accounts behind a line about many."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts.admin.fields import Tick
from accounts.admin.governed import page
from accounts.admin.verbs import VerbForm, VerbPage, row
from core.organisation import organisation
from core.wording import plural
from governance.models import Notification, Preference
from governance.news import notifications

PER_PAGE = 50


class ReadForm(VerbForm):
    """Marks a line as read, and opens it, or all of them."""

    open = Tick()

    def carry_out(self):
        key = self.page.sent("line")
        if not key:
            count = notifications.read(self.thing)
            self.say(f"{plural(count, 'line is,lines are')} marked as read.")
            return reverse("inbox")
        line = row(self.thing, key, "line")
        notifications.read(self.thing.filter(pk=line.pk))
        return line.link if self.cleaned_data["open"] else reverse("inbox")


class InboxPage(VerbPage):
    """Everything this person was told, unread first."""

    title = "Inbox"
    template = "governance/inbox/inbox.html"
    verbs = {"read": ReadForm}

    def load(self):
        return Notification.objects.filter(user=self.request.user)

    def context(self):
        request, mine = self.request, self.thing
        unread = notifications.unread(request.user)
        everything = "all" in request.GET or not unread
        rows = mine if everything else mine.unread().order_by("-urgent", "-pk")
        return {
            "rows": Paginator(rows, PER_PAGE).get_page(request.GET.get("p")),
            "unread": unread,
            "everything": everything,
            "wish": _wish(request.user),
            "mailed": settings.MAILED,
        }


def line_view(request, pk):
    """Show what a line about many is about, one by one."""
    line = get_object_or_404(Notification.objects.filter(user=request.user), pk=pk)
    about = notifications.about(line)
    return page(
        request,
        "governance/inbox/line.html",
        title=line.text.rstrip("."),
        line=line,
        rows=Paginator(about, PER_PAGE).get_page(request.GET.get("p")),
        more=line.count - len(about),
    )


class PreferenceForm(forms.ModelForm):
    class Meta:
        model = Preference
        fields = ["mail"]
        widgets = {"mail": forms.RadioSelect}


def preferences_view(request):
    """How this person wants to be told."""
    wish = _wish(request.user)
    form = PreferenceForm(request.POST or None, instance=wish)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved. It holds from the next message on.")
        return HttpResponseRedirect(reverse("inbox"))
    return page(
        request,
        "governance/inbox/preferences.html",
        title="How I am told",
        form=form,
        digest=notifications.DIGEST,
        zone=organisation().time_zone,
        mailed=settings.MAILED,
        at_once=[how.label for how in notifications.KINDS.values() if how.at_once],
        later=[
            how.label
            for how in (*notifications.KINDS.values(), *notifications.MOVES.values())
            if how.later and not how.at_once
        ],
    )


def _wish(user):
    return Preference.objects.filter(pk=user.pk).first() or Preference(pk=user.pk)
