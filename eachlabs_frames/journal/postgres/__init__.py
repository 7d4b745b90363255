"""The journal in a PostgreSQL database, which many machines share. Only this package imports psycopg."""
