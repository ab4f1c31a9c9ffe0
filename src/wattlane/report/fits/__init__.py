"""The page of a fitted law: what `wattlane fit --report` found, as tables and figures."""
