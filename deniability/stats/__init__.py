"""Exact statistics and the rule that turns residuals into a finding."""
