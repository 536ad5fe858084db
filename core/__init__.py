"""The parts every governed change needs, whatever it is about; they know none of the other apps."""
