"""What txregistry announces to Twisted: its command and its built-in plugins, by name only."""

from twisted.application.service import ServiceMaker

from txregistry.plugins import AuthBackendMaker, CacheMaker, NotifierMaker, StorageDriverMaker

registry = ServiceMaker("registry", "txregistry.tap", "An OCI and Docker registry", "registry")

filesystem = StorageDriverMaker("filesystem", "txregistry.storage.filesystem.make")
inmemory = StorageDriverMaker("inmemory", "txregistry.storage.memory.make")

htpasswd = AuthBackendMaker("htpasswd", "txregistry.auth.htpasswd.make")
cred = AuthBackendMaker("cred", "txregistry.auth.cred.make")
token = AuthBackendMaker("token", "txregistry.auth.token.make")

webhook = NotifierMaker("webhook", "txregistry.notify.webhook.make")

inmemory_cache = CacheMaker("inmemory", "txregistry.cache.memory.make")
redis_cache = CacheMaker("redis", "txregistry.cache.redis.make")
