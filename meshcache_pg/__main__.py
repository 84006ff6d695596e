"""`python -m meshcache_pg` is `meshcache`, for environments whose scripts are not on the path."""

import sys

from meshcache_pg.cli import main

if __name__ == "__main__":
    sys.exit(main())
