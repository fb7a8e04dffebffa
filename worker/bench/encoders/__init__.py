"""The benchmark of several encoders in one worker."""
