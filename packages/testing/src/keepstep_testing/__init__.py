"""keepstep_testing: simulation, scenarios and conformance suites for workflows and stores."""
