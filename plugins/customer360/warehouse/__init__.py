"""The warehouse: roles, connections, the lock of the writers, the log of runs, dirty keys and migrations."""

from customer360.warehouse.roles_and_locks import (
    AIRFLOW_DATABASE as AIRFLOW_DATABASE,
)
from customer360.warehouse.roles_and_locks import (
    INCIDENTS_LOCK as INCIDENTS_LOCK,
)
from customer360.warehouse.roles_and_locks import (
    NO_MERGE_JOIN as NO_MERGE_JOIN,
)
from customer360.warehouse.roles_and_locks import (
    ROLES as ROLES,
)
from customer360.warehouse.roles_and_locks import (
    SCHEMAS as SCHEMAS,
)
from customer360.warehouse.roles_and_locks import (
    SNAPSHOTS_LOCK as SNAPSHOTS_LOCK,
)
from customer360.warehouse.roles_and_locks import (
    WRITER_LOCK as WRITER_LOCK,
)
from customer360.warehouse.roles_and_locks import (
    Connection as Connection,
)
from customer360.warehouse.roles_and_locks import (
    Role as Role,
)
from customer360.warehouse.roles_and_locks import (
    WriterBusyError as WriterBusyError,
)
from customer360.warehouse.roles_and_locks import (
    admin as admin,
)
from customer360.warehouse.roles_and_locks import (
    airflow_database_name as airflow_database_name,
)
from customer360.warehouse.roles_and_locks import (
    connect as connect,
)
from customer360.warehouse.roles_and_locks import (
    create_airflow_database as create_airflow_database,
)
from customer360.warehouse.roles_and_locks import (
    lock_holder as lock_holder,
)
from customer360.warehouse.roles_and_locks import (
    migrate as migrate,
)
from customer360.warehouse.roles_and_locks import (
    query as query,
)
from customer360.warehouse.roles_and_locks import (
    scalar as scalar,
)
from customer360.warehouse.roles_and_locks import (
    set_up as set_up,
)
from customer360.warehouse.roles_and_locks import (
    url as url,
)
from customer360.warehouse.roles_and_locks import (
    writer_lock as writer_lock,
)
