"""XGBoost models, from files of JSON or UBJ to trees whose sums have the library's bits."""
