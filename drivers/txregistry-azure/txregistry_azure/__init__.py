"""Storage for txregistry in a container of Azure Blob Storage."""
