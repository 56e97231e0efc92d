"""Stage 11 beside crun and runc."""
