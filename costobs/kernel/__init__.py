"""Small exact things that know no room: money, periods, scopes, histograms, secrets."""
