"""What txregistry-azure announces to Twisted."""

from txregistry.plugins import StorageDriverMaker

azure = StorageDriverMaker("azure", "txregistry_azure.driver.make")
