"""What everything else stands on: settings, clock, database, log, limits, and what holds for the site as a whole."""
