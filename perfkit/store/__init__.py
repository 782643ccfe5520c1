"""The store of runs: tables of each analysed run as parquet, and SQL over all of them."""
