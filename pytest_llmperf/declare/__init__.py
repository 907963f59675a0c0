"""What a person asks for: workloads, load points, SLOs, subjects, settings. Pure; imports no numpy."""
