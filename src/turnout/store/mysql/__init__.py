"""The adapter for MySQL 8.0 and MariaDB 10.6 or later; needs PyMySQL or mysqlclient."""

from turnout.store.mysql.store import MySQLStore

__all__ = ["MySQLStore"]
