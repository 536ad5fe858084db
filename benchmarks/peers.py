"""The same three-segment decision by other engines, account by account.

Each peer gives a list of segment keys in the frame's order; the benchmark checks that all agree with ours.
"""

import json

import zen
from flag_engine.engine import get_evaluation_result

# enterprise: employees >= 1000 and arr >= 100000; mid-market: employees >= 100 and arr >= 10000; smb: the rest
BOUNDS = [("enterprise", 1000, 100000), ("mid-market", 100, 10000)]
REST = "smb"
DOCUMENT = {
    "rules": [
        *({"segment": key, "when": f"employees >= {e} AND arr >= {a}"} for key, e, a in BOUNDS),
        {"segment": REST},
    ]
}


def flagsmith(frame):
    """flagsmith-flag-engine: segments with conditions; the first that matches, in our order."""

    def segment(key, employees, arr):
        conditions = [
            {"property": "employees", "operator": "GREATER_THAN_INCLUSIVE", "value": str(employees)},
            {"property": "arr", "operator": "GREATER_THAN_INCLUSIVE", "value": str(arr)},
        ]
        return {"key": key, "name": key, "rules": [{"type": "ALL", "conditions": conditions, "rules": []}]}

    segments = {key: segment(key, employees, arr) for key, employees, arr in BOUNDS}
    labels = []
    for employees, arr in zip(frame["employees"], frame["arr"], strict=True):
        traits = {
            name: float(value)
            for name, value in (("employees", employees), ("arr", arr))
            if value is not None
        }
        context = {
            "environment": {"key": "bench", "name": "bench"},
            "identity": {"identifier": "account", "key": "account", "traits": traits},
            "segments": segments,
            "features": {},
        }
        names = [result["name"] for result in get_evaluation_result(context)["segments"]]
        labels.append(names[0] if names else REST)
    return labels


def zen_engine(frame):
    """zen-engine: one decision table, first match wins."""
    rules = [
        {"_id": key, "e": f">= {employees}", "a": f">= {arr}", "o": f'"{key}"'}
        for key, employees, arr in BOUNDS
    ]
    table = {
        "hitPolicy": "first",
        "inputs": [
            {"id": "e", "name": "employees", "field": "employees"},
            {"id": "a", "name": "arr", "field": "arr"},
        ],
        "outputs": [{"id": "o", "name": "segment", "field": "segment"}],
        "rules": [*rules, {"_id": REST, "e": "", "a": "", "o": f'"{REST}"'}],
    }
    place = {"x": 0, "y": 0}
    graph = {
        "nodes": [
            {"id": "in", "type": "inputNode", "name": "in", "position": place},
            {"id": "table", "type": "decisionTableNode", "name": "t", "position": place, "content": table},
            {"id": "out", "type": "outputNode", "name": "out", "position": place},
        ],
        "edges": [
            {"id": "1", "sourceId": "in", "targetId": "table", "type": "edge"},
            {"id": "2", "sourceId": "table", "targetId": "out", "type": "edge"},
        ],
    }
    decision = zen.ZenEngine().create_decision(json.dumps(graph))
    return [
        decision.evaluate({"employees": employees or 0, "arr": float(arr or 0)})["result"]["segment"]
        for employees, arr in zip(frame["employees"], frame["arr"], strict=True)
    ]
