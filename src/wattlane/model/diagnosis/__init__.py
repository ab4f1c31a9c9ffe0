"""What a reviewer asks of a fitted law: scores, groups left out, intervals that were tested, variance explained."""
