"""The oracle: what must hold, checked at every commit, at the end, and in the fair phase. It shares no code with the engine."""
