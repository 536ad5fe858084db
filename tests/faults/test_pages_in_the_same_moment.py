"""Forms sent in the same moment by people at windows of their own: somebody is first, and nobody gets a page of errors."""

import logging
from functools import partial
from time import monotonic, sleep

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from governing import NOTED, fresh, no_policies, policy, request_of, someone
from segmenting import BY_ARR, layer_with
from test_sign_off_races import at_once

from accounts.models import Product, Refusal
from governance.signoff import people, policies
from governance.signoff.approvals import token
from governance.signoff.kinds import KINDS
from segmentation.admin.layers import LayerAdmin
from segmentation.models import Layer

ROUNDS = [pytest.param(6, id="6"), pytest.param(60, id="60", marks=pytest.mark.long)]


@pytest.fixture
def window(real_db, monkeypatch):
    """`window(user)` sends forms as this person: window(user)(address, fields) gives the answer."""
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # a line for each refusal

    def of(user):
        client = Client(raise_request_exception=False)
        client.force_login(user)
        return client.post

    return of


def page(name, row):
    return reverse(f"admin:{name}", args=[row.pk])


def sends(answer):
    """The outcome: done (and the person goes on), or told why not."""
    assert answer.status_code in (302, 409), answer.content[:2000]
    return answer.status_code == 302


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("leave", ["auth_user_login", "auth_user_delete"])
def test_who_approves_while_their_login_is_closed_or_deleted(window, monkeypatch, rounds, leave):
    monkeypatch.setitem(KINDS, "override", NOTED)
    no_policies("override")
    ops, ada = someone("ops", "CS Ops"), someone("ada", "Administrator", is_staff=True)
    outcomes = set()
    for number in range(rounds):
        vera = someone(f"vera{number}", "Approver", is_staff=True)
        request = request_of(ops, key=str(number))
        approve, close = window(vera), window(ada)
        fields = {"verb": "approve", "seen": token(request)}
        answers = at_once(
            partial(approve, page("governance_approvalrequest_change", request), fields),
            partial(close, page(leave, vera), {"verb": "close", "reason": "Left", "post": "yes"}),
        )
        approved, closed = map(sends, answers)
        assert closed
        assert not User.objects.filter(pk=vera.pk, is_active=True).exists()
        decided = request.decisions.filter(by=vera.pk).exists()
        assert decided is approved or not approved or "/login/" in answers[0]["Location"]
        assert fresh(request).status in (("applied", "pending", "failed") if decided else ("pending",))
        outcomes.add(approved)
    assert Refusal.objects.filter(verb="approvals.approve").count() or outcomes == {True}


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_segmentation_that_is_saved_while_its_policy_is_applied(window, monkeypatch, rounds):
    """Both are in force afterwards: who is second waits, and the form does not write the old policy back."""
    save = LayerAdmin.save_model

    def save_later(*args):
        """The form has been read; every other time the policy is given two seconds to be applied in between."""
        until = monotonic() + 2 * (number % 2)
        while monotonic() < until and fresh(layer).policy != other:
            sleep(0.05)
        save(*args)

    monkeypatch.setattr(LayerAdmin, "save_model", save_later)
    policy("policy", "Approver", only=True)
    ops, vera = someone("ops", "CS Ops", is_staff=True), someone("vera", "Approver", is_staff=True)
    layer = layer_with(BY_ARR, policy="automatic")
    for number in range(rounds):
        other = "approval" if fresh(layer).policy == "automatic" else "automatic"
        request = policies.ask(policies.for_layer(fresh(layer), {"policy": other}), by=ops, why="Try it")
        fields = {
            "name": f"Tier {number}",
            "description": f"Round {number}",
            "position": layer.position,
            "why": "Try it",
        }
        decided, saved = at_once(
            partial(
                window(vera),
                page("governance_approvalrequest_change", request),
                {"verb": "approve", "seen": token(request)},
            ),
            partial(window(ops), page("segmentation_layer_change", layer), fields | {"scope": layer.scope}),
        )
        assert sends(decided)
        assert sends(saved)
        layer = Layer.objects.get(pk=layer.pk)
        assert (layer.policy, layer.name) == (other, f"Tier {number}")
        assert fresh(request).status == "applied"


@pytest.mark.parametrize("rounds", ROUNDS)
def test_two_who_add_the_same_at_once_add_it_once(window, rounds):
    ops, otto = someone("ops", "CS Ops", is_staff=True), someone("otto", "CS Ops", is_staff=True)
    add = reverse("admin:accounts_product_add")
    for number in range(rounds):
        fields = {"key": f"app{number}", "name": "App"}
        answers = at_once(*(partial(window(one), add, fields) for one in (ops, otto)))
        assert {answer.status_code for answer in answers} <= {
            200,
            302,
            409,
        }  # 200: the form says that there is one
        assert sum(answer.status_code == 302 for answer in answers) == 1
        assert Product.objects.filter(key=f"app{number}").count() == 1


def test_roles_are_decided_while_the_person_is_deleted(window):
    policy("role", "Approver", only=True)
    ada, vera = (
        someone("ada", "Administrator", is_staff=True),
        someone("vera", "Approver", "Administrator", is_staff=True),
    )
    for number in range(8):
        leaver = someone(f"leaver{number}", "CSM")
        request = people.ask(leaver, by=ada, why="Helps", add=["Finance"])
        answers = at_once(
            partial(
                window(vera),
                page("governance_approvalrequest_change", request),
                {"verb": "approve", "seen": token(request)},
            ),
            partial(window(ada), page("auth_user_delete", leaver), {"post": "yes"}),
        )
        assert [sends(answer) for answer in answers].count(True) >= 1
        assert fresh(request).status in ("applied", "failed", "pending")
