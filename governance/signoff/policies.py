"""The policies of sign-off: who has to approve what, when crossings are put before people, which segmentations need it.

A change of one is proposed here (a `Proposal`: what will be carried out, and what changes in sentences). It is asked for
like everything else, and carried out by the request. Open requests keep the stricter of old and new.
"""

from dataclasses import asdict, dataclass, fields
from decimal import Decimal

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError

from accounts import currency
from accounts.models import Account
from core import pages
from core.models import FIELDS as SETTINGS
from core.models import Settings
from core.organisation import fixed_by, organisation
from core.refusals import Refused, verb
from core.wording import money, plural
from governance import events
from governance.models import ApprovalPolicy, CrossingPolicy, Profile
from governance.signoff import approvals, crossing_policies, permissions, profiles
from governance.signoff.carrying_out import tighten
from governance.signoff.deciders import NEVER
from governance.signoff.impact import Impact, of_everybody
from governance.signoff.kinds import KINDS
from governance.signoff.profiles import PROFILES, Row
from segmentation import treatments
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Layer

KIND = "policy"
MOST_ROWS = 12
CROSSING = (
    "hold_days",
    "margin",
    "min_dwell_days",
    "at_renewal",
    "quiet_days",
    "joint_days",
    "material_arr",
    "material_score",
)
LAYER = ("policy", "plan_provisional_downgrades", "primary")


@dataclass(frozen=True)
class Proposal:
    """A change of policy as it is asked for: see approvals.submit."""

    key: str
    subject: str
    content: dict
    changes: list
    impact: Impact

    def columns(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}


# -- in words


def sentence(row):
    """Say who has to approve, and when this counts, in a sentence. row: a profiles.Row, or an ApprovalPolicy."""
    role = row.role if isinstance(row.role, str) else row.role.name
    if not row.approvals:
        return f"Nobody has to approve{_where(row)}: it is done at once, and logged."
    wanted = {1: "One approval", 2: "Two approvals", 3: "Three approvals"}.get(
        row.approvals, f"{row.approvals} approvals"
    )
    return f"{wanted} by {role}{_where(row)}, within {plural(row.due_days, 'day,days')}; it expires after {row.expire_days}."


def _where(row):
    reached = [
        row.min_accounts and f"{plural(row.min_accounts, 'account,accounts')} or more are touched",
        row.min_arr and f"the ARR is {money(row.min_arr)} or more or in another currency",
        row.min_csm_changes
        and f"{plural(row.min_csm_changes, 'account gets,accounts get')} another CSM, or more",
        row.top_tier and "the top segment is touched",
    ]
    reached = [condition for condition in reached if condition]
    return f" where {' and '.join(reached)}" if reached else ""


def sentences_by_kind():
    """{kind: [sentences]} of the policies there are."""
    by_kind = {kind: [] for kind in KINDS}
    for row in ApprovalPolicy.objects.select_related("role").order_by("kind", "id"):
        by_kind[row.kind].append(sentence(row))
    return {kind: sentences or [sentence(Row(kind))] for kind, sentences in by_kind.items()}


def roles_needed():
    """The names of the roles that have to approve something."""
    return set(ApprovalPolicy.objects.filter(approvals__gt=0).values_list("role__name", flat=True))


def table():
    """The policies of each profile as Markdown; docs/governance.md shows it."""
    lines = []
    for name, rows in PROFILES.items():
        lines += [
            f"### {Profile.Name(name).label}",
            "",
            profiles.DOES[name],
            "",
            "| what | who |",
            "|---|---|",
        ]
        for kind, needs in KINDS.items():
            sentences = [sentence(row) for row in rows if row.kind == kind] or [sentence(Row(kind))]
            lines.append(f"| {needs.label} | {'<br>'.join(sentences)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


# -- who approves a kind of request


def rows_of(kind):
    """The policies of a kind as profiles.Row, in the order they were made."""
    rows = ApprovalPolicy.objects.filter(kind=kind).select_related("role").order_by("id")
    return [_row(row) for row in rows]


def _row(policy):
    values = {field.name: getattr(policy, field.name) for field in fields(Row) if field.name != "role"}
    return Row(**values | {"role": policy.role.name})


def for_kind(kind, rows):
    """Other policies for a kind of request: these rows (profiles.Row) instead of those there are."""
    if kind not in KINDS:
        raise Refused("kind_unknown")
    if len(rows) > MOST_ROWS:
        raise Refused("too_many_policy_lines", most=MOST_ROWS)
    rows = list(dict.fromkeys(_checked(row) for row in rows))
    before = rows_of(kind)
    if set(rows) == set(before):
        raise Refused("policy_unchanged")
    label = KINDS[kind].label
    content = {"what": "kind", "kind": kind, "was": _plain(before), "rows": _plain(rows)}
    return Proposal(
        key=f"policy:kind:{kind}",
        subject=f"Who decides: {label}",
        content=content,
        changes=_changed(label, before or [Row(kind)], rows or [Row(kind)]) + _nobody_has(rows),
        impact=_impact_on_lines(content),
    )


def _impact_on_lines(content):
    """The impact on people who lose a say by other lines: the roles of lines that go or change, where somebody has them."""
    both = (content["was"], content["rows"])
    if content["what"] == "kind":
        both = ({content["kind"]: lines} for lines in both)
    was, rows = both
    gone = {
        line["role"]
        for kind in was
        for line in was[kind]
        if line["approvals"] and line not in rows.get(kind, [])
    }
    held = User.objects.filter(is_active=True, groups__name__in=gone).values_list("groups__name", flat=True)
    return Impact(roles=tuple(sorted(gone.intersection(held))))


def _checked(row):
    role = Group.objects.filter(name=row.role).first()
    if role is None:
        raise Refused("role_unknown", role=row.role)
    if row.role in NEVER and row.approvals:
        raise Refused("role_decides_nothing", role=row.role)
    try:
        ApprovalPolicy(**asdict(row) | {"role": role}).full_clean()
    except ValidationError as error:
        raise Refused("policy_invalid", messages=error.messages) from None
    return row


def _plain(rows):
    return [asdict(row) | {"min_arr": shown_number(row.min_arr)} for row in rows]


def shown_number(number):
    """A decimal as the database gives it back, whatever zeros were typed."""
    return None if number is None else f"{Decimal(number).normalize():f}"


def _changed(label, before, after):
    old, new = ({sentence(row): None for row in rows} for rows in (before, after))
    return [f"{label}: {line}" for line in new if line not in old] + [
        f"{label}, no longer: {line}" for line in old if line not in new
    ]


def _nobody_has(rows):
    """A warning for each role that somebody needs and nobody has."""
    roles = {row.role: None for row in rows if row.approvals}
    held = set(User.objects.filter(is_active=True).values_list("groups__name", flat=True))
    return [
        f"Nobody has the role {role} now: until somebody has, such requests wait."
        for role in roles
        if role not in held
    ]


# -- the profile


def for_profile(name):
    """Another governance profile: its policies instead of all there are."""
    if name not in PROFILES:
        raise Refused("profile_unknown")
    before = {kind: rows_of(kind) for kind in KINDS}
    after = {kind: [row for row in PROFILES[name] if row.kind == kind] for kind in KINDS}
    changes = [
        change
        for kind, needs in KINDS.items()
        for change in _changed(needs.label, before[kind] or [Row(kind)], after[kind] or [Row(kind)])
    ]
    profile = Profile.objects.get()
    if not changes and profile.name == name:
        raise Refused("profile_unchanged", profile=profile)
    label = Profile.Name(name).label
    content = {
        "what": "profile",
        "name": name,
        "was": {kind: _plain(rows) for kind, rows in before.items()},
        "rows": {kind: _plain(rows) for kind, rows in after.items()},
    }
    return Proposal(
        key="policy:profile",
        subject=f"Governance profile: {label}",
        content=content,
        changes=[f"The profile {label}: {profiles.DOES[name]}", *changes, *_nobody_has(PROFILES[name])],
        impact=_impact_on_lines(content),
    )


# -- when crossings are put before people


def for_crossing(layer, direction, values):
    """Another policy for crossings of a segmentation in one direction. values: {column of CROSSING: value}."""
    if layer.policy != Layer.Policy.APPROVAL:
        raise Refused("crossings_apply_by_themselves", layer=layer)
    if direction not in CrossingPolicy.Direction.values:
        raise Refused("direction_unknown")
    before = crossing_policies.in_both_directions(layer)[direction]
    after = CrossingPolicy(layer=layer, direction=direction, **{name: values[name] for name in CROSSING})
    try:
        after.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise Refused("policy_invalid", messages=error.messages) from None
    old, new = crossing_values(before), crossing_values(after)
    until_now = dict(zip(CROSSING, crossing_sentences(before), strict=True))
    changes = [
        f"{now} (Until now: {until_now[name]})"
        for name, now in zip(CROSSING, crossing_sentences(after), strict=True)
        if old[name] != new[name]
    ]
    if not changes:
        raise Refused("policy_is_so_already")
    label = CrossingPolicy.Direction(direction).label.lower()
    return Proposal(
        key=f"policy:crossing:{layer.pk}:{direction}",
        subject=f"{layer}, changes {label}: when they are put before people",
        content={"what": "crossing", "layer": layer.pk, "direction": direction, "was": old, "values": new},
        changes=changes,
        impact=_impact_of(layer),
    )


def crossing_values(policy):
    """A crossing policy as plain data; decimals as text, whatever zeros the database gives them."""
    values = {}
    for name in CROSSING:
        decimal = CrossingPolicy._meta.get_field(name).get_internal_type() == "DecimalField"
        value = getattr(policy, name)
        values[name] = shown_number(value) if decimal else value
    return values


def crossing_sentences(policy):
    """Say what a crossing policy does, a sentence for each column of CROSSING."""
    values = crossing_values(policy)
    share = f"{Decimal(values['material_arr']) * 100:f}".rstrip("0").rstrip(".") or "0"
    days = {name: plural(values[name], "day,days") for name in CROSSING if name.endswith("_days")}
    return [
        f"The rules have to say so for {days['hold_days']} in a row." if values["hold_days"] else "It is seen on the day the rules say so.",
        f"The overall score has to be beyond the boundary by {values['margin']}." if values["margin"] != "0" else "Any score beyond the boundary counts.",
        f"An account stays in its segment for {days['min_dwell_days']} at least." if values["min_dwell_days"] else "An account may leave its segment at any time.",
        "It applies at the renewal date; on approval where there is none." if values["at_renewal"] else "It applies on approval.",
        f"No hand-over within {days['quiet_days']} of a renewal or of the last hand-over." if values["quiet_days"] else "Hand-overs may happen on any day.",
        f"Joint coverage takes {days['joint_days']}." if values["joint_days"] else "There is no joint coverage.",
        f"After a no, a change of ARR by {share} % is material.",
        f"After a no, a change of the overall score by {values['material_score']} is material.",
    ]  # fmt: skip


# -- which segmentations need approval


def of_layer(layer):
    """{column of LAYER: value} of a segmentation as it is, and `order`: the keys of its segments, the top one first."""
    order = layer.segments.order_by("position", "key").values_list("key", flat=True)
    return {name: getattr(layer, name) for name in LAYER} | {"order": list(order)}


def for_layer(layer, values):
    """Whether a segmentation needs approval, plans provisional downgrades, is the primary one; which segment is above which.

    values: some of what `of_layer` gives. The primary one stops being it only for another one.
    """
    before = of_layer(layer)
    after = before | values
    if after == before:
        raise Refused("policy_is_so_already")
    if after["policy"] not in Layer.Policy.values:
        raise Refused("layer_policy_unknown")
    if sorted(after["order"]) != sorted(before["order"]):
        raise Refused("segment_order_changed")
    scope, needs_approval = layer.scoped, after["policy"] == Layer.Policy.APPROVAL
    if (after["primary"] and not scope.may_be_primary) or (needs_approval and not scope.may_need_approval):
        raise Refused("product_layer_needs_no_approval")
    if before["primary"] and not after["primary"]:
        raise Refused("primary_layer_missing")
    current = Layer.objects.filter(primary=True).exclude(pk=layer.pk).first()
    return Proposal(
        key=f"policy:layer:{layer.pk}",
        subject=f"{layer}: how it applies",
        content={"what": "layer", "layer": layer.pk, "was": before, "values": after,
                 "was_primary": current.pk if current and after["primary"] else None},
        changes=_layer_sentences(layer, before, after, current),
        impact=_impact_of(layer),
    )  # fmt: skip


def _layer_sentences(layer, before, after, current):
    sentences = []
    if before["policy"] != after["policy"]:
        sentences.append(
            f"{layer} needs approval: where the rules say another segment, a tier change is flagged and waits."
            if after["policy"] == Layer.Policy.APPROVAL
            else f"{layer} applies by itself: the next recalculation moves every account to the segment its rules say."
        )
    if before["plan_provisional_downgrades"] != after["plan_provisional_downgrades"]:
        sentences.append(
            f"{layer}: an account that goes down after its provisional period waits for a plan."
            if after["plan_provisional_downgrades"]
            else f"{layer}: the decision after the provisional period applies at once."
        )
    if after["primary"] and not before["primary"]:
        sentences.append(
            f"{layer} is the primary segmentation: it drives coverage"
            + (f", {current} no longer does." if current else ".")
        )
        if current and (moved := _service_of(current)):
            names = ", ".join(treatments.FIELDS[name].label for name in moved)
            sentences.append(f"{layer} decides instead of {current}: {names}.")
    if before["order"] != after["order"]:
        named = dict(layer.segments.values_list("key", "name"))
        was, now = (" > ".join(named[key] for key in values["order"]) for values in (before, after))
        sentences.append(f"{layer}, what is up and what is down: {now}. (Until now: {was}.)")
    return sentences


# -- what the organisation has set


def of_settings():
    """{column: value} of the organisation's settings as its row has them, whatever the environment fixes."""
    return {name: getattr(_settings(), name) for name in SETTINGS}


def _settings():
    return Settings.objects.first() or Settings()


def for_settings(values):
    """Other settings of the organisation. values: some of {column: value}; those the environment fixes stay as they are."""
    before = of_settings()
    after = before | {name: value for name, value in values.items() if not fixed_by(name)}
    if after == before:
        raise Refused("policy_is_so_already")
    try:
        Settings(**after).full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise Refused("policy_invalid", messages=error.messages) from None
    if after["currency"] not in currency.CODES:
        raise Refused("currency_unknown", currency=after["currency"])
    changes = [
        f"{_label(name)}: {_told(now)}. (Until now: {_told(before[name])}.)"
        for name, now in after.items()
        if now != before[name]
    ]
    if after["currency"] != before["currency"]:
        changes.append(
            "Amounts are converted by nobody: accounts with money in another currency get no segment by it."
        )
    content = {"what": "settings", "was": before, "values": after}
    return Proposal(
        key="policy:settings",
        subject="Settings of the organisation",
        content=content,
        changes=changes,
        impact=_impact_of_settings(content),
    )


def _told(value):
    return "–" if value == "" else value


def _impact_of_settings(content):
    """Another currency reaches every account; the other settings none."""
    if content["values"]["currency"] == content["was"]["currency"]:
        return Impact()
    return of_everybody(Account.objects.active())


def _label(name):
    label = str(Settings._meta.get_field(name).verbose_name)
    return label[:1].upper() + label[1:]


def _service_of(layer):
    """The fields only the primary segmentation decides, and this one does."""
    return [name for name in layer.decides if name in treatments.PRIMARY]


def _impact_of(layer):
    labelled = Assignment.objects.filter(layer=layer).values("account")
    return of_everybody(Account.objects.active().filter(pk__in=labelled))


# -- asking


@verb
def ask(proposal, *, by=None, why):
    """Ask for a change of policy. Returns the ApprovalRequest; it is done already where nobody has to approve it."""
    permissions.check(permissions.change_policies(by=by))
    return approvals.submit(KIND, why=why, by=by, **proposal.columns())


@verb
def change(request, *, by=None, seen, proposal, why=None):
    """Change what an open request asks for."""
    permissions.check(permissions.change_policies(by=by))
    columns = proposal.columns()
    if columns.pop("key") != request.key:
        raise Refused("policy_of_another_request")
    return approvals.edit(request, by=by, seen=seen, why=why, **columns)


# -- what approvals calls (governance.signoff.kinds)


def impact(request):
    if request.content["what"] in ("kind", "profile"):
        return _impact_on_lines(request.content)
    if request.content["what"] == "settings":
        return _impact_of_settings(request.content)
    layer = Layer.objects.filter(pk=request.content.get("layer")).first()
    return _impact_of(layer) if layer else Impact()


def carry_out(request, *, by, at):
    """Put the policy into force, in the transaction that says the request is done."""
    causes.take(Cause.Kind.DECISION, reason=request.why)
    _PUT[request.content["what"]](request.content)
    events.record(
        "policy_changed",
        f"{request.subject}. {' '.join(request.changes)}",
        about=request,
        reason=request.why,
    )


def decided_against(request, *, verdict, by, reason):
    """Nothing was held for it."""


def address(request):
    content = request.content
    keys = [content[name] for name in ("kind", "layer", "direction") if name in content]
    return pages.address(f"{content['what']}_policy", *keys)


def _put_kind(content):
    kind = content["kind"]
    _lock_policies()
    _check_same(_plain(rows_of(kind)), content["was"])
    for policy in ApprovalPolicy.objects.filter(kind=kind):
        policy.delete()
    for row in content["rows"]:
        ApprovalPolicy.objects.create(**row | {"role": Group.objects.get(name=row["role"])})
    tighten(kind)


def _put_profile(content):
    profile = _lock_policies()
    _check_same({kind: _plain(rows_of(kind)) for kind in KINDS}, content["was"])
    profiles.put(profile, content["name"])
    for kind in KINDS:
        tighten(kind)


def _lock_policies():
    """Make changes of policies wait for each other; the profile's row stands for all of them."""
    return Profile.objects.select_for_update().get()


def _put_crossing(content):
    layer = Layer.objects.select_for_update(no_key=True).get(pk=content["layer"])
    before = crossing_policies.in_both_directions(layer)[content["direction"]]
    _check_same(crossing_values(before), content["was"])
    for name, value in content["values"].items():
        setattr(before, name, value)
    before.save()


def _put_layer(content):
    layers = {layer.pk: layer for layer in Layer.objects.select_for_update(no_key=True).order_by("pk")}
    layer = layers[content["layer"]]
    _check_same(of_layer(layer), content["was"])
    if content["values"]["primary"] and not layer.primary:
        current = next((other for other in layers.values() if other.primary), None)
        _check_same(current.pk if current else None, content["was_primary"])
        if current:
            moved = _service_of(current)
            current.primary, current.decides = False, [name for name in current.decides if name not in moved]
            current.save()
            layer.decides = [*layer.decides, *(name for name in moved if name not in layer.decides)]
    for name in LAYER:
        setattr(layer, name, content["values"][name])
    layer.save()
    for position, key in enumerate(content["values"]["order"]):
        segment = layer.segments.get(key=key)
        if segment.position != position:
            segment.position = position
            segment.save()


def _put_settings(content):
    _lock_policies()
    _check_same(of_settings(), content["was"])
    row = _settings()
    for name, value in content["values"].items():
        setattr(row, name, value)
    row.save()
    organisation.forget()


_PUT = {
    "kind": _put_kind,
    "profile": _put_profile,
    "crossing": _put_crossing,
    "layer": _put_layer,
    "settings": _put_settings,
}


def _check_same(now, then):
    if now != then:
        raise Refused("policy_stale")
