"""The forms that data sets come in, a module each; `listing` says which there are."""
