"""What a backfill costs the live lane: the same load with it and without it, in turns."""
