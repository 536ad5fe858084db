"""The inbox: what one person was told, how they want to be told, and the accounts behind a line about many."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts.admin.governed import page
from core.wording import plural
from governance import notifications
from governance.models import Notification, Preference

PER_PAGE = 50


def inbox_view(request):
    """What this person was told, unread first; the POST marks a line as read, and opens it, or all of them."""
    mine = Notification.objects.filter(user=request.user)
    if request.method == "POST":
        return _read(request, mine)
    unread = notifications.unread(request.user)
    everything = "all" in request.GET or not unread
    rows = mine if everything else mine.unread()
    return page(
        request,
        "governance/inbox/inbox.html",
        title="Inbox",
        rows=Paginator(rows.order_by("-urgent", "-pk") if not everything else rows, PER_PAGE).get_page(
            request.GET.get("p")
        ),
        unread=unread,
        everything=everything,
        wish=_wish(request.user),
        mailed=settings.MAILED,
    )


def _read(request, mine):
    key = request.POST.get("line", "")
    if not key:
        count = notifications.read(mine)
        messages.success(request, f"{plural(count, 'line is,lines are')} marked as read.")
        return HttpResponseRedirect(reverse("inbox"))
    if not (key.isdecimal() and len(key) < 19):
        raise Http404
    line = get_object_or_404(mine, pk=key)
    notifications.read(mine.filter(pk=line.pk))
    return HttpResponseRedirect(line.link if "open" in request.POST else reverse("inbox"))


def line_view(request, pk):
    """What a line about many is about, one by one."""
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
        fields = ["mail", "daily_cap"]
        widgets = {"mail": forms.RadioSelect}

    def clean_daily_cap(self):
        cap = self.cleaned_data["daily_cap"]
        if not 1 <= cap <= 500:
            raise forms.ValidationError("From 1 to 500.")
        return cap


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
        zone=settings.TIME_ZONE,
        mailed=settings.MAILED,
        at_once=[how.said for how in notifications.KINDS.values() if how.at_once],
        later=[
            how.said
            for how in (*notifications.KINDS.values(), *notifications.MOVES.values())
            if how.later and not how.at_once
        ],
    )


def _wish(user):
    return Preference.objects.filter(pk=user.pk).first() or Preference(pk=user.pk)
