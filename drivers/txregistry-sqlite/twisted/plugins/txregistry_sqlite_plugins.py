"""What txregistry-sqlite announces to Twisted."""

from txregistry.plugins import StorageDriverMaker

sqlite = StorageDriverMaker("sqlite", "txregistry_sqlite.driver.make")
