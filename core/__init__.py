"""What every governed change needs, whatever it is about; knows none of the other apps."""
