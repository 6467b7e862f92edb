"""What operators ask for."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('operator_requests',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('command', sqltypes.AutoString(), nullable=False),
    sa.Column('arguments', sa.JSON(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('who', sqltypes.AutoString(), nullable=False),
    sa.Column('requested_at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('applied_at', sqltypes.UTCDateTime(), nullable=True),
    sa.Column('applied_session', sa.Date(), nullable=True),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_operator_requests'))
    )
    with op.batch_alter_table('operator_requests', schema=None) as batch_op:
        batch_op.create_index('ix_operator_requests_market', ['market', 'applied_at'], unique=False)
