"""Which change did it: releases, commits or flags between a good and a bad end, by noisy measurements."""
