"""Pages that show a thing and carry out verbs with it, each verb a form.

    class EndForm(VerbForm):
        at = {"reason_missing": "reason"}
        reason = Text("Why it ends", needed=True)

        def carry_out(self):
            overrides.end(self.thing, by=self.by, **self.cleaned_data)
            self.say("It has ended.")
            return reverse(PAGE, args=[self.thing.pk])

    class OverridePage(VerbPage):
        template = "governance/overrides/override.html"
        verbs = {"end": EndForm}

A form that is refused is shown again as it was typed, with the reason at its field or above the page, and status 409.
"""

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponseRedirect
from django.views import View

from core.refusals import Refused

from .governed import page

MARKED = "Look at what is marked below."


class VerbForm(forms.Form):
    """The form a verb takes. part: of the page, where several verbs share what is typed; else each has its own.

    at: {code of a refusal: the field it is about}. seen: the token of the thing as it was when the page was opened.
    It may be shown on another page too, where `page` is None and `auto_id` tells it from others there.
    """

    part = ""
    at = {}

    def __init__(self, thing, by, sent=None, files=None, *, page=None, auto_id="%s"):
        self.thing, self.by, self.page = thing, by, page
        self.seen = sent.get("seen", "") if sent else ""
        super().__init__(sent, files, auto_id=auto_id, initial={})
        self.prepare()
        if sent is None:
            self.initial = self.start()

    def prepare(self):
        """Fit the fields to the thing."""

    def start(self):
        """{field: what it begins with}."""
        return {}

    def carry_out(self):
        """Call the verb, say so; the address to go to. May raise Refused."""
        raise NotImplementedError

    def say(self, text, level=messages.SUCCESS):
        messages.add_message(self.page.request, level, text)

    def refuse(self, refusal):
        self.add_error(self.at.get(refusal.code), str(refusal))


class VerbPage(View):
    """Loads a thing, shows it, and carries out the verb that is sent.

    admin: the ModelAdmin it is a page of. verb: where the address names it, as `as_view(verb="freeze")`.
    """

    http_method_names = ["get", "head", "post"]
    admin = None
    template = ""
    title = ""
    verbs = {}
    verb = ""

    def load(self, **where):
        """Load the thing the page is about, for whoever may see it. Raises PermissionDenied and Http404."""
        raise NotImplementedError

    def elsewhere(self):
        """The address of another page, where this one is not for the thing as it is; else ""."""
        return ""

    def token(self):
        """The token of the thing as it is shown: sent along as `seen`."""
        return ""

    def context(self):
        """Values for the template beside `forms`, `form` (where there is one), `seen` and `refused`."""
        return {}

    def sent(self, name):
        """A value of the form that was sent, or of the address."""
        return self.request.POST.get(name, self.request.GET.get(name, ""))

    def dispatch(self, request, *args, **where):
        self.thing = self.load(**where)
        if address := self.elsewhere():
            return HttpResponseRedirect(address)
        return super().dispatch(request, *args, **where)

    def get(self, request, **where):
        return self.show()

    def post(self, request, **where):
        kind = self.verbs.get(self.sent_verb())
        if kind is None:
            return self.show(refused=str(Refused("step_not_chosen")))
        form = self.form(kind, request.POST, request.FILES)
        if form.is_valid():
            try:
                return HttpResponseRedirect(form.carry_out())
            except Refused as refusal:
                form.refuse(refusal)
                form.thing = self.thing = self.load(**where)
        return self.show(form)

    def sent_verb(self):
        """The name of the verb that was sent."""
        only = next(iter(self.verbs)) if len(self.verbs) == 1 else ""
        return self.verb or only or self.request.POST.get("verb")

    def form(self, kind, *sent):
        parts = {of.part or name for name, of in self.verbs.items()}
        own = f"{kind.part}-%s" if kind.part and len(parts) > 1 else "%s"
        return kind(self.thing, self.request.user, *sent, page=self, auto_id=own)

    def show(self, form=None, refused=""):
        """The page; `form`: the one that is shown again as it was typed."""
        forms = {kind.part or name: kind for name, kind in reversed(self.verbs.items())}
        forms = {part: self.form(kind) for part, kind in forms.items()}
        if form is not None:
            forms[form.part or self.sent_verb()] = form
            refused = " ".join(form.non_field_errors()) or MARKED
        context = {
            "forms": forms,
            "seen": self.token(),
            "refused": refused,
            "verb": form and self.sent_verb(),
        }
        if len(forms) == 1:
            context["form"] = next(iter(forms.values()))
        return page(
            self.request,
            self.template,
            model_admin=self.admin,
            status=409 if refused else 200,
            **{"title": self.title, **context, **self.context()},
        )


def pressed(request, verb, *, message="", to):
    """Carry out a verb that is told nothing, from a button; `to` is the page that says what came of it."""
    try:
        verb()
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        if message:
            messages.success(request, message)
    return HttpResponseRedirect(to)


def row(rows, key, called=""):
    """The row of this id, as an address has it. called: what it is, for whoever looks for one that is not there."""
    try:
        return rows.get(pk=key)
    except (rows.model.DoesNotExist, ValueError):
        raise Http404(f"There is no such {called or rows.model._meta.verbose_name}.") from None
