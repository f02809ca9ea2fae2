"""How the site is watched from outside."""
