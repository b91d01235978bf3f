"""The faults: a closed list of kinds, and the plan of a schedule. Each is counted; a campaign in which one never strikes fails."""
