"""What txregistry-s3 announces to Twisted."""

from txregistry.plugins import StorageDriverMaker

s3 = StorageDriverMaker("s3", "txregistry_s3.driver.make")
#: Distribution's other name for it.
s3aws = StorageDriverMaker("s3aws", "txregistry_s3.driver.make")
