import json

from django.core.management.base import CommandError
from django.db.models import Exists, OuterRef, Q

from accounts.models import Account, Product
from core import commands
from core.refusals import Refused
from segmentation.management.commands.recompute import a_date, layers
from segmentation.models import Assignment
from segmentation.reading import explain


class Command(commands.Command):
    help = "Says why an account is in its segment, now or on a date."

    def add_arguments(self, parser):
        parser.add_argument("account", help="the account's ID, or its exact name")
        parser.add_argument("--layer", metavar="KEY", help="which segmentation (default: the primary one)")
        parser.add_argument(
            "--product", metavar="NAME", help="which of its products, on a segmentation of products"
        )
        parser.add_argument("--at", metavar="DATE", help="a date, such as 2026-01-31 (default: now)")
        parser.add_argument(
            "--known",
            metavar="DATE",
            help="only what had been recorded by the end of this day (default: as known today)",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, account, layer, product, at, known, json, **options):
        layer, account = layers([layer])[0] if layer else None, find(account)
        if product is not None or (layer and layer.scoped.several):
            product = find_product(product, account)
        try:
            explanation = explain.explain(
                account, layer, at=a_date("--at", at), known=a_date("--known", known), product=product
            )
        except Refused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(as_json(explanation) if json else "\n".join(lines(explanation)))


def as_json(explanation):
    return json.dumps(explanation, ensure_ascii=False)


def find(text):
    """The account with this ID, else the one with this name."""
    if account := Account.objects.filter(external_id=text).first():
        return account
    named = list(Account.objects.filter(name=text).order_by("pk")[:2])
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(account.external_id for account in named)
        raise CommandError(f"Several accounts are called {text!r} (such as {ids}). Give the account's ID.")
    raise CommandError(f"There is no account with the ID or name {text!r}.{_nearest(text)}")


def _nearest(text):
    """Accounts that contain what was typed, in whatever case."""
    near = Account.objects.filter(Q(external_id__icontains=text) | Q(name__icontains=text)).order_by("pk")[:3]
    named = " or ".join(
        f"{account.external_id} ({account.name})" if account.name else account.external_id for account in near
    )
    return f" Did you mean {named}?" if named else ""


def find_product(text, account):
    """The product with this key or name, whatever its case."""
    theirs = ", ".join(products(account)) or "none"
    if text is None:
        raise CommandError(
            f"This segmentation labels the products of an account. Name one with --product: {theirs}"
        )
    named = Product.objects.filter(Q(key__iexact=text) | Q(name__iexact=text)).order_by("pk")
    exact = [product for product in named if text in (product.key, product.name)]
    if matches := [*exact, *named]:
        return matches[0]
    raise CommandError(f"There is no product {text!r}. {account} has: {theirs}")


def products(account):
    """The keys of the products something is known of for an account."""
    tagged = Assignment.objects.filter(account=account, product=OuterRef("pk"))
    of_account = Q(Exists(tagged)) | Q(usage__account=account) | Q(subscription__account=account)
    return Product.objects.filter(of_account).order_by("key").distinct().values_list("key", flat=True)


def lines(explanation):
    """The explanation for people, line by line."""
    account, layer = explanation["account"], explanation["layer"]
    what = layer["name"] + (f" of {explanation['product']['name']}" if explanation["product"] else "")
    known = f", known by {explanation['known']}" if explanation["known"] else ""
    yield (
        f"{account['name'] or account['external_id']} ({account['external_id']}) on {what}, as of {explanation['as_of']}{known}"
    )
    yield f"Current segment: {_segment(explanation, 'effective')}"
    yield f"Segment by the rules (version {explanation['definition']['version']}): {_segment(explanation, 'computed')}"
    for sentence in (
        *explanation["notes"],
        explanation["scope"],
        explanation["reason_text"],
        explanation["differs"] and explanation["differs"]["text"],
    ):
        if sentence:
            yield sentence
    if explanation["provisional"]:
        yield f"Provisional until {explanation['provisional_until']}. {explanation['provisional_text']}"
    if explanation["thin_data"]:
        yield "Thin data: more than half of the measures have no value of their own."
    yield from _table(explanation)
    if explanation["rule"]:
        yield explanation["rule"]["text"]
    if explanation["stay"]:
        yield explanation["stay"]["text"]
    if explanation["cause"]:
        yield explanation["cause"]["text"]
    for direction in filter(None, explanation["nearest"].values()):
        yield f"{direction['gap_shown']} away: {direction['text']}"
    if move := explanation["move"]:
        yield (
            f"Since {move['at']}: {move['cause_text']} ({move['from'] or 'no segment'} -> {move['to'] or 'needs data'}), "
            f"by {move['actor']}, written {move['written_at'][:16].replace('T', ' ')}"
        )
    if evidence := explanation["evidence"]:
        facts = [
            f"{row['name']} {row['value_shown']}{' (differs)' if row['differs'] else ''}"
            for row in evidence["facts"]
        ]
        yield f"It was decided on, under version {evidence['definition']}: {', '.join(facts) or 'nothing known'}"


def _segment(explanation, kind):
    name = explanation[f"{kind}_segment_name"]
    return f"{name}, since {explanation[f'{kind}_since']}" if name else "needs data"


def _table(explanation):
    header = ("Measure", "Value", "Source", "Age", "Cell", "Points", "Weight", "Contribution", "")
    rows = [header]
    for group in explanation["dimensions"]:
        used = (
            f" (counts {group['weight_used']})" if group["weight_used"] not in (None, group["weight"]) else ""
        )
        weight = f"{group['weight']}{used}" if group["weight"] else ""
        note = group["left_out"] or ""
        rows.append(
            (group["name"], "", "", "", "", group["score_shown"], weight, group["contribution_shown"], note)
        )
        rows += [_row(row, indent="  ") for row in group["criteria"]]
    rows += [_row(row) for row in explanation["requires"]]
    if explanation["composite_shown"]:
        rows.append(("Overall score", "", "", "", "", "", "", explanation["composite_shown"], ""))
    rows = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if len(rows) == 1:
        return
    widths = [min(max(len(row[index]) for row in rows), 36) for index in range(len(header) - 1)]
    for row in rows:
        cells = [cell[:width].ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(row, indent=""):
    age = None if row["age_days"] is None else f"{row['age_days']} d"
    fallback = row.get("fallback")
    learnt = f"learnt on {row['learnt']}" if row["learnt"] else ""
    return (
        indent + row["name"],
        row["value_shown"] or "not known",
        row["source"],
        age,
        row.get("cell", ""),
        row.get("points", ""),
        row.get("weight", ""),
        row.get("contribution_shown", ""),
        fallback["text"] if fallback else learnt,
    )
