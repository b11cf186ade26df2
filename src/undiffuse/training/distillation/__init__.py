"""Students: a training whose targets come from a teacher; everything else of a training is as ever."""
