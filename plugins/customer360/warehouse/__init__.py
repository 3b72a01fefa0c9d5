"""The warehouse: connections, roles, log-ins, leases, the log of runs, dirty keys and migrations."""

from customer360.warehouse.connections import (
    connect as connect,
)
from customer360.warehouse.connections import (
    open_restored as open_restored,
)
from customer360.warehouse.connections import (
    reader_url as reader_url,
)
from customer360.warehouse.connections import (
    session_tag as session_tag,
)
from customer360.warehouse.connections import (
    set_up as set_up,
)
from customer360.warehouse.connections import (
    url as url,
)
from customer360.warehouse.leases import (
    SNAPSHOTS as SNAPSHOTS,
)
from customer360.warehouse.leases import (
    WRITER as WRITER,
)
from customer360.warehouse.leases import (
    Lease as Lease,
)
from customer360.warehouse.leases import (
    RunFencedError as RunFencedError,
)
from customer360.warehouse.leases import (
    WriterBusyError as WriterBusyError,
)
from customer360.warehouse.leases import (
    end_holder as end_holder,
)
from customer360.warehouse.leases import (
    hold_token as hold_token,
)
from customer360.warehouse.leases import (
    holder as holder,
)
from customer360.warehouse.leases import (
    is_gone as is_gone,
)
from customer360.warehouse.leases import (
    lease as lease,
)
from customer360.warehouse.leases import (
    this_process as this_process,
)
from customer360.warehouse.leases import (
    writer_lock as writer_lock,
)
from customer360.warehouse.roles import (
    SCHEMAS as SCHEMAS,
)
from customer360.warehouse.roles import (
    airflow_database_name as airflow_database_name,
)
from customer360.warehouse.roles import (
    create_airflow_database as create_airflow_database,
)
from customer360.warehouse.server import (
    NO_MERGE_JOIN as NO_MERGE_JOIN,
)
from customer360.warehouse.server import (
    READERS as READERS,
)
from customer360.warehouse.server import (
    ROLES as ROLES,
)
from customer360.warehouse.server import (
    STEPS as STEPS,
)
from customer360.warehouse.server import (
    Connection as Connection,
)
from customer360.warehouse.server import (
    Reader as Reader,
)
from customer360.warehouse.server import (
    Role as Role,
)
from customer360.warehouse.server import (
    admin as admin,
)
from customer360.warehouse.server import (
    login_name as login_name,
)
from customer360.warehouse.server import (
    query as query,
)
from customer360.warehouse.server import (
    role_name as role_name,
)
from customer360.warehouse.server import (
    scalar as scalar,
)
