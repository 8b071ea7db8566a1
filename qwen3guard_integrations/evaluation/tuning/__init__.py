"""From labelled results of a guard to the policy that fits a stated aim: `tune`."""
