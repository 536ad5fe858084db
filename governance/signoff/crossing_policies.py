"""When crossings of a segmentation are put before people: its policy for each direction."""

from governance.models import CrossingPolicy

UP, DOWN = CrossingPolicy.Direction.UP, CrossingPolicy.Direction.DOWN


def in_both_directions(layer):
    """{direction: CrossingPolicy} of a layer; where none was made, the usual: downgrades wait for the renewal."""
    made = {policy.direction: policy for policy in layer.crossing_policies.all()}
    return {
        direction: made.get(direction) or _usual(layer, direction)
        for direction in CrossingPolicy.Direction.values
    }


def _usual(layer, direction):
    return CrossingPolicy(layer=layer, direction=direction, at_renewal=direction == DOWN)
