"""What a study is planned from, the data and the machine, and the plan itself."""
