"""What a task is: Figure 1, section 5's heuristics, measures, lines in and answers out."""
