"""What is kept about live data: verdicts of the gate, fetch marks, held membership changes."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('data_verdicts',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('outcome', sqltypes.AutoString(), nullable=False),
    sa.Column('asset', sqltypes.AutoString(), nullable=False),
    sa.Column('first_session', sa.Date(), nullable=False),
    sa.Column('last_session', sa.Date(), nullable=False),
    sa.Column('n_rows', sa.Integer(), nullable=False),
    sa.Column('rule', sa.Text(), nullable=False),
    sa.Column('fact', sa.Text(), nullable=False),
    sa.Column('payload', sqltypes.AutoString(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_data_verdicts'))
    )
    with op.batch_alter_table('data_verdicts', schema=None) as batch_op:
        batch_op.create_index('ix_data_verdicts_session', ['market', 'session'], unique=False)

    op.create_table('fetch_marks',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('asset', sqltypes.AutoString(), nullable=False),
    sa.Column('first_session', sa.Date(), nullable=False),
    sa.Column('last_session', sa.Date(), nullable=False),
    sa.Column('outcome', sqltypes.AutoString(), nullable=False),
    sa.Column('payload', sqltypes.AutoString(), nullable=False),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('market', 'asset', name=op.f('pk_fetch_marks'))
    )
    op.create_table('held_changes',
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('digest', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('joined', sa.JSON(), nullable=False),
    sa.Column('left', sa.JSON(), nullable=False),
    sa.Column('held_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('confirmed_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('applied_at', sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('market', 'digest', name=op.f('pk_held_changes'))
    )
