"""For tests, perfkit's and yours: synthetic runs with known truth, and what a provider must do."""
