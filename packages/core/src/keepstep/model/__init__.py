"""Values: ids, statuses, records, plans, policies, durations, the codec. No I/O, no clock, no decisions."""
