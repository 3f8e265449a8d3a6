"""What txregistry-gcs announces to Twisted."""

from txregistry.plugins import StorageDriverMaker

gcs = StorageDriverMaker("gcs", "txregistry_gcs.driver.make")
