"""The speed of training and sampling on this machine, the speed that it could reach, and advice."""
