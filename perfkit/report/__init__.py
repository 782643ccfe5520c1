"""Tables, their exports, plots and the report page."""
